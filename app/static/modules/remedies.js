// What a developer can do about a problem. Loaded when there is one.

const ADDRESS = "The attribute server has to be Belfry's own address, with the path prefix if it is below one, and nothing after that.";

/** @type {Record<string, string>} */
const REMEDIES = {
  address_malformed: ADDRESS,
  method_not_allowed: ADDRESS,
  not_belfry: `${ADDRESS} If it is, look at the log of the proxy in front of Belfry.`,
  not_found: ADDRESS,
  cross_site: "Give the element a token-url: the session cookie counts on Belfry's own pages only.",
  disconnected: "An administrator ended the connection. The client comes back by itself later.",
  origin_refused: "Add this page's origin, exactly as the browser shows it, to BELFRY_CORS_ORIGINS of the server.",
  replaced: "The user has more connections than BELFRY_MAX_CONNECTIONS_PER_USER allows.",
  revoked: "The user signed out, or an administrator withdrew the credential. A new token is needed.",
  scope_missing: "Make tokens with the scope \"feed\" for the feed, or \"complete\" for runs.",
  token_expired: "Make tokens whose \"exp\" lies in the future, and check the clocks of both servers.",
  token_invalid: "Sign tokens with the secret or key that the server verifies with (BELFRY_SECRET), with the claims \"sub\", \"scope\" and \"exp\".",
  token_malformed: "Have the token address (or the property token) answer the token alone as text, or as {\"token\": \"…\"}, without a redirect to a login page.",
  token_missing: "Set the attribute token-url or the property token, or sign in on Belfry's own pages.",
  token_revoked: "The credential was withdrawn. A new token is needed.",
  token_unavailable: "Check the attribute token-url, and what your back end answers there.",
  bad_topic: "A topic is 1 to 128 bytes of printable UTF-8 without whitespace, { or }.",
  too_many_topics: "A connection reads the user's own feed, everyone's, and up to 6 topics. Ask for fewer, or publish to fewer topics.",
  topic_forbidden: "Grant the topics in the token's claim \"topics\", or ask for fewer.",
};

/** @param {string} code */
export const remedyFor = (code) => REMEDIES[code] ?? "";
