// Elements, icons and links.

/** Paths of a 24 × 24 grid, drawn as strokes. */
const ICONS = {
  bell: "M6 9a6 6 0 0 1 12 0c0 6 2.5 7.5 2.5 7.5h-17S6 15 6 9ZM10 20a2.2 2.2 0 0 0 4 0",
  info: "M12 11v6M12 7v.5M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  success: "m8 12.5 3 3 5.5-6.5M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  warning: "M12 9.5v4.5M12 17v.5M10.4 4.4 2.7 17.8A1.8 1.8 0 0 0 4.3 20.5h15.4a1.8 1.8 0 0 0 1.6-2.7L13.6 4.4a1.85 1.85 0 0 0-3.2 0Z",
  error: "m9 9 6 6m0-6-6 6M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  checks: "m2.5 12.5 4.5 4.5L16 7.5M12 16l1 1 9-9.5",
  dot: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z",
  archive: "M4 8v11h16V8M3 4h18v4H3zM10 12h4",
  unarchive: "M4 8v11h16V8M3 4h18v4H3zM12 17v-6m-2.5 2.5L12 11l2.5 2.5",
  remove: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  settings: "M4 7h9m4 0h3M4 17h3m4 0h9M13 7a2 2 0 1 0 4 0 2 2 0 1 0-4 0ZM7 17a2 2 0 1 0 4 0 2 2 0 1 0-4 0Z",
  close: "M6 6l12 12M18 6 6 18",
  menu: "M5 12v.5M12 12v.5M19 12v.5",
};
/** @typedef {keyof typeof ICONS} Icon */

/** @typedef {Partial<Record<string, string | boolean | ((event: any) => void)>>} Properties */

/**
 * Make an element. A property that is a function becomes a listener, and `true` an attribute without a value. Properties
 * that are false or undefined are left out, and so are children that are null.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {Properties} properties @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** @param {Icon} name */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** @param {Icon} name @param {string} label @param {(event: MouseEvent) => void} click */
export function iconButton(name, label, click) {
  return element("button", { type: "button", class: "icon-button", "aria-label": label, title: label, click }, icon(name));
}

/**
 * The address if it is http(s) or a path, otherwise null: `javascript:` and the like must not become links.
 * @param {string | undefined} text
 */
export function safeUrl(text) {
  try {
    const url = new URL(/** @type {string} */ (text), document.baseURI);
    return text && ["http:", "https:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/** A link that gives the other site neither a referrer nor a handle of this window. @param {URL} url @param {string} text @param {string} [className] */
export function link(url, text, className) {
  const away = url.origin !== location.origin;
  return element("a", { href: url.href, rel: "noopener noreferrer", target: away && "_blank", class: className }, text);
}
