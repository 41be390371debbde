// Programs by the names that people know, out of what they send as `User-Agent`.

/** The first that fits counts: browsers also call themselves by the names of others. An app that shows a page in a web view names no program. @type {[RegExp, string][]} */
const PROGRAMS = [
  [/\bEdg(?:A|iOS)?\/(\d+)/, "Edge"],
  [/\b(?:OPR|OPT|OPX|OPiOS)\/(\d+)/, "Opera"],
  [/\bVivaldi\/(\d+)/, "Vivaldi"],
  [/\bYaBrowser\/(\d+)/, "Yandex Browser"],
  [/\bDuckDuckGo\/(\d+)/, "DuckDuckGo"],
  [/\bDdg\/(\d+)/, "DuckDuckGo"],
  [/\bSamsungBrowser\/(\d+)/, "Samsung Internet"],
  [/\b(?:Firefox|FxiOS)\/(\d+)/, "Firefox"],
  [/\bElectron\/(\d+)/, "Electron"],
  [/\bHeadlessChrome\/(\d+)/, "Chrome without a window"],
  [/\b(?:Chrome|CriOS)\/(\d+)/, "Chrome"],
  [/\bVersion\/(\d+)[\d.]* (?:Mobile\/\w+ )?Safari\//, "Safari"],
  [/\bpython-requests\/([\d.]+)/, "Python requests"],
  [/\bcurl\/([\d.]+)/, "curl"],
  [/\bcompatible; ([\w-]+\/[\d.]+)/, ""],
  [/\bAppleWebKit\//, "Web view"],
];
/** @type {[RegExp, string][]} */
const SYSTEMS = [
  [/iPhone/, "iPhone"],
  [/iPad/, "iPad"],
  [/Android/, "Android"],
  [/Windows/, "Windows"],
  [/CrOS/, "ChromeOS"],
  [/Mac OS X/, "macOS"],
  [/Linux/, "Linux"],
];
const LONGEST = 40; // of what is shown as it came

/** @param {string} agent @returns {string} such as `Firefox 140 on Windows` */
export function agentName(agent) {
  const system = SYSTEMS.find(([pattern]) => pattern.test(agent))?.[1];
  const where = system ? ` on ${system}` : "";
  for (const [pattern, name] of PROGRAMS) {
    const found = pattern.exec(agent);
    if (found) return [name, found[1]].filter(Boolean).join(" ").replace("/", " ") + where;
  }
  return agent ? agent.slice(0, LONGEST) : "unknown program";
}
