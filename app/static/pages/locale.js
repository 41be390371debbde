// WebKit without a locale calls the language "C", which Intl refuses; uPlot passes it on as it loads. No module: it must run
// before uPlot, which is none.

try {
  Intl.getCanonicalLocales(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en", configurable: true });
}
