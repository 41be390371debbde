// What the page scripts need of the document: elements of the page by id, and new ones.

/**
 * The element of the page with this id.
 * @template {HTMLElement} Kind @param {string} id @param {new () => Kind} kind @returns {Kind}
 */
export function byId(id, kind = /** @type {new () => any} */ (HTMLElement)) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`Expected an element #${id} of type ${kind.name} in the page, got ${found}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {string} className @param {...(Node | string)} children @returns {HTMLElementTagNameMap[Name]}
 */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

/** A time as the reader's language writes it, the same on every page. @param {string | number | Date} time such as RFC 3339 */
export const clock = (time) => new Date(time).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });

/** A number and its noun. @param {number} number @param {string} one @param {string} [many] */
export const counted = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/**
 * A button that is no submit button.
 * @param {string} text @param {() => void} click @param {string} [label] where the text alone says too little
 */
export function button(text, click, label) {
  const made = element("button", "quiet", text);
  made.type = "button";
  if (label) made.ariaLabel = label;
  made.addEventListener("click", click);
  return made;
}
