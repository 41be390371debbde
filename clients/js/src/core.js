// belfry-client: a user's messages, without a view. It can be imported anywhere, also where there is no browser.

export { BelfryClient } from "../../../app/static/modules/client.js";
export { BelfryRun } from "../../../app/static/modules/run.js";
export { Refusal } from "../../../app/static/modules/server.js";
export { Feed } from "./feed.js";

/** @typedef {import("../../../app/static/modules/types.js").Action} Action */
/** @typedef {import("../../../app/static/modules/types.js").ClientOptions} ClientOptions */
/** @typedef {import("../../../app/static/modules/types.js").Message} Message */
/** @typedef {import("../../../app/static/modules/types.js").Page} Page */
/** @typedef {import("../../../app/static/modules/types.js").Problem} Problem */
/** @typedef {import("../../../app/static/modules/types.js").RunAnswer} RunAnswer */
/** @typedef {import("../../../app/static/modules/types.js").State} State */
/** @typedef {import("../../../app/static/modules/model.js").Tab} Tab */
/** @typedef {import("./feed.js").FeedOptions} FeedOptions */
/** @typedef {import("./feed.js").FeedState} FeedState */
