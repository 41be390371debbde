// The search of the documentation. It reads the text of all sections once, and finds the sections with every word.

const SHOWN = 50;
const AROUND = 90; // characters of a section's text before and after the first word that was found

/** @typedef {{title: string, page: string, address: string, text: string}} Entry */

const form = /** @type {HTMLFormElement} */ (document.getElementById("search"));
const field = /** @type {HTMLInputElement} */ (form.elements.namedItem("q"));
const count = /** @type {HTMLElement} */ (document.getElementById("count"));
const results = /** @type {HTMLElement} */ (document.getElementById("results"));
const index = new URL(form.dataset.root ?? "", location.href);

/** @type {Entry[]} */
let entries = [];

/** The words of a query. @param {string} query */
function wordsOf(query) {
  return query.toLowerCase().split(/\s+/).filter(Boolean);
}

/**
 * How well an entry fits; 0 if a word is missing. A word in a title counts more than one in the text.
 * @param {Entry} entry @param {string[]} words
 */
function score(entry, words) {
  const [title, page, text] = [entry.title, entry.page, entry.text].map((part) => part.toLowerCase());
  let sum = 0;
  for (const word of words) {
    const fits = (title.includes(word) ? 10 : 0) + (page.includes(word) ? 3 : 0) + Math.min(text.split(word).length - 1, 4);
    if (!fits) return 0;
    sum += fits + (title === word ? 20 : 0);
  }
  return sum;
}

/** Adds `text` to `parent` with the words in it marked. @param {HTMLElement} parent @param {string} text @param {string[]} words */
function appendMarked(parent, text, words) {
  const lower = text.toLowerCase();
  let at = 0;
  while (at < text.length) {
    const hits = words.map((word) => ({ word, from: lower.indexOf(word, at) })).filter((hit) => hit.from >= 0);
    if (!hits.length) break;
    const { word, from } = hits.reduce((first, hit) => (hit.from < first.from ? hit : first));
    const mark = document.createElement("mark");
    mark.textContent = text.slice(from, from + word.length);
    parent.append(text.slice(at, from), mark);
    at = from + word.length;
  }
  parent.append(text.slice(at));
}

/** The part of a text around the first word. @param {string} text @param {string[]} words */
function excerpt(text, words) {
  const lower = text.toLowerCase();
  const first = Math.max(0, Math.min(...words.map((word) => lower.indexOf(word)).filter((from) => from >= 0), lower.length));
  const from = first === lower.length ? 0 : Math.max(0, first - AROUND);
  const to = from + 2 * AROUND;
  return (from ? "…" : "") + text.slice(from, to) + (to < text.length ? "…" : "");
}

/** @param {Entry} entry @param {string[]} words */
function item(entry, words) {
  const [line, link, text] = ["li", "a", "p"].map((name) => document.createElement(name));
  /** @type {HTMLAnchorElement} */ (link).href = new URL(entry.address, index).href;
  appendMarked(link, entry.page ? `${entry.title} – ${entry.page}` : entry.title, words);
  appendMarked(text, excerpt(entry.text, words), words);
  line.append(link, text);
  return line;
}

function show() {
  const words = wordsOf(field.value);
  const found = words.length
    ? entries
        .map((entry) => ({ entry, fits: score(entry, words) }))
        .filter(({ fits }) => fits)
        .sort((one, other) => other.fits - one.fits)
    : [];
  count.textContent = words.length ? `${found.length} ${found.length === 1 ? "section" : "sections"}` : "";
  results.replaceChildren(...found.slice(0, SHOWN).map(({ entry }) => item(entry, words)));
}

function search() {
  const address = new URL(location.href);
  address.searchParams.set("q", field.value);
  history.replaceState(null, "", address);
  show();
}

field.value = new URL(location.href).searchParams.get("q") ?? "";
form.addEventListener("submit", (event) => event.preventDefault());
field.addEventListener("input", search);
const answer = await fetch(index);
if (answer.ok) {
  entries = await answer.json();
  show();
} else {
  count.textContent = `The search has no index: the server answered ${answer.status}.`;
}
