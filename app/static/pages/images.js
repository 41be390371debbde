// Images in a question: read from a file or the clipboard, made small enough for a model, and shown.
//
// The page's Content-Security-Policy allows no image but the server's own. So a canvas shows these, which loads nothing.

/** @import { Texts } from "./chat_texts.js" */

import { button, element } from "./dom.js";

// Larger ones are scaled down. Models scale to about this size themselves, and each question sends earlier images again.
const SIDE_MOST = 2_048;
const BYTES_AS_IT_IS = 524_288;
const QUALITY = 0.85;
const THUMBNAIL_PX = 160;
const KEPT = new Set(["image/png", "image/jpeg", "image/webp", "image/gif"]); // which every model takes

/** The images that go with the next question. */
export class Images {
  /** @type {string[]} */ #urls = [];
  #texts;
  #changed;

  /** @param {HTMLUListElement} root where they are shown @param {Texts} texts @param {() => void} changed */
  constructor(root, texts, changed) {
    this.root = root;
    this.#texts = texts;
    this.#changed = changed;
  }

  get urls() {
    return this.#urls;
  }

  /** @param {string[]} urls data URLs */
  set urls(urls) {
    this.#urls = urls;
    this.root.replaceChildren(...urls.map((url, at) => this.#item(url, at)));
    this.#changed();
  }

  /** Add files. Throws an `Error` for the user where one is no image. @param {Iterable<File>} files */
  async add(files) {
    for (const file of files) {
      const url = await read(file).catch(() => {
        throw new Error(`${file.name}: ${this.#texts.noImage}`);
      });
      this.urls = [...this.#urls, url];
    }
  }

  /** @param {string} url @param {number} at */
  #item(url, at) {
    const remove = button("✕", () => (this.urls = this.#urls.filter((_, other) => other !== at)), this.#texts.removeImage);
    return element("li", "", picture(url, this.#texts.image), remove);
  }
}

/** A small view of an image. @param {string} url a data URL @param {string} label */
export function picture(url, label) {
  const canvas = element("canvas", "picture");
  canvas.role = "img";
  canvas.ariaLabel = label;
  canvas.width = canvas.height = THUMBNAIL_PX / 2; // until it is read
  draw(url, canvas).catch(() => {}); // what is no image stays empty, with its label
  return canvas;
}

/** @param {string} url @param {HTMLCanvasElement} canvas */
async function draw(url, canvas) {
  const bitmap = await createImageBitmap(blobOf(url));
  paint(bitmap, canvas, THUMBNAIL_PX);
}

/** @param {ImageBitmap} bitmap @param {HTMLCanvasElement} canvas @param {number} side at most */
function paint(bitmap, canvas, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
}

/** A file as a data URL. @param {File} file @returns {Promise<string>} */
async function read(file) {
  const bitmap = await createImageBitmap(file);
  const isSmall = file.size <= BYTES_AS_IT_IS && Math.max(bitmap.width, bitmap.height) <= SIDE_MOST;
  if (isSmall && KEPT.has(file.type)) return plain(file);
  const canvas = document.createElement("canvas");
  paint(bitmap, canvas, SIDE_MOST);
  return canvas.toDataURL(file.type === "image/png" && isSmall ? "image/png" : "image/jpeg", QUALITY);
}

/** @param {File} file @returns {Promise<string>} */
function plain(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** @param {string} url a data URL in base64 */
function blobOf(url) {
  const [head, data = ""] = url.split(",", 2);
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: head?.match(/^data:([^;]*)/)?.[1] ?? "" });
}
