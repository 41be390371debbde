// The languages besides English, loaded by pages in another one.

import { ENGLISH } from "./texts.js";

/** @import { Language, Texts } from "./texts.js" */

/** Each is loaded when a page needs it. @type {Record<string, () => Promise<{default: Texts}>>} */
export const LANGUAGES = {
  ar: () => import("./texts_ar.js"),
  de: () => import("./texts_de.js"),
  es: () => import("./texts_es.js"),
  fr: () => import("./texts_fr.js"),
  ja: () => import("./texts_ja.js"),
  ko: () => import("./texts_ko.js"),
  "pt-BR": () => import("./texts_pt_br.js"),
  "zh-CN": () => import("./texts_zh_cn.js"),
  "zh-TW": () => import("./texts_zh_tw.js"),
};

/**
 * The name of the texts for a language, by its script or by itself; "en" for a language without texts.
 * @param {string} lang a tag that `Intl` takes
 */
export function nameOf(lang) {
  const { language, script } = new Intl.Locale(lang).maximize();
  const name = /^(zh|yue|cmn)$/.test(language) ? (script === "Hant" ? "zh-TW" : "zh-CN") : language === "pt" ? "pt-BR" : language;
  return Object.hasOwn(LANGUAGES, name) ? name : "en";
}

/** The texts of a language, or English with English times. @param {string} lang @returns {Promise<Language>} */
export async function load(lang) {
  const name = nameOf(lang);
  return name === "en" ? { lang: "en", texts: ENGLISH } : { lang, texts: (await LANGUAGES[name]()).default };
}
