// One message as an element. Everything in it was written by someone else: it only ever becomes text, or a checked link.

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** @returns {HTMLElement} with `children` that are elements or text, and without those that are null */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The address if it is http(s) or a path, else null: `javascript:` and the like must not become links. */
export function safeUrl(text) {
  try {
    const url = new URL(text, location.origin);
    return ["http:", "https:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

function link(text, label) {
  const url = safeUrl(text);
  if (url === null) return null;
  const made = element("a", "", label);
  made.href = url.href;
  made.rel = "noopener noreferrer";
  if (url.origin !== location.origin) made.target = "_blank";
  return made;
}

function timeOf(message) {
  const time = new Date(message.time);
  const today = time.toDateString() === new Date().toDateString();
  const made = element("time", "", (today ? CLOCK : DATE).format(time));
  made.dateTime = message.time;
  made.title = DATE.format(time);
  return made;
}

function origin(message) {
  if (message.everyone) return element("span", "tag", "everyone");
  return message.topic ? element("span", "tag", message.topic) : null;
}

function detailsOf(data) {
  return element("details", "", element("summary", "", "Data"), element("pre", "", JSON.stringify(data, null, 2)));
}

function footOf(message) {
  const level = message.level ? element("span", "level", message.level) : null;
  const tags = (message.tags ?? []).map((tag) => element("span", "tag", tag));
  const open = message.url ? link(message.url, "Open") : null;
  const actions = (message.actions ?? []).map((action) => link(action.url, action.label ?? "Open"));
  const foot = element("p", "foot", level, origin(message), ...tags, open, ...actions);
  return foot.childElementCount > 0 ? foot : null;
}

/** What a person reads first in `message`. */
export function headline(message) {
  return message.title ?? message.body ?? message.event ?? "Message";
}

/** @returns {HTMLLIElement} `message` as the feed shows it */
export function messageElement(message) {
  const made = element(
    "li",
    "message",
    element("div", "head", element("h2", "", headline(message)), timeOf(message)),
    message.title && message.body ? element("p", "body", message.body) : null,
    message.data === undefined ? null : detailsOf(message.data),
    footOf(message),
  );
  if (message.level) made.dataset.level = message.level;
  return made;
}
