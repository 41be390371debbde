// Belfry in the browser: the entry.
//
//   <script type="module" src="https://push.example.com/static/belfry.js"></script>
//   <belfry-feed token-url="/belfry-token"></belfry-feed>
//
// `BelfryClient` is a connection, `<belfry-feed>` a bell with its feed, `BelfryRun` one answer of a model. The entry
// imports every module that is needed at once, because a page of another origin can't preload them.

import "./modules/bell.js";
export { BelfryClient } from "./modules/client.js";
export { BelfryFeed, BelfryMessage } from "./modules/element.js";
import "./modules/events.js";
import "./modules/follower.js";
import "./modules/id.js";
import "./modules/link.js";
import "./modules/list_view.js";
export { safeUrl } from "./modules/markup.js";
import "./modules/message_view.js";
import "./modules/model.js";
import "./modules/panel.js";
import "./modules/poll.js";
import "./modules/reconnect.js";
export { BelfryRun } from "./modules/run.js";
export { Refusal } from "./modules/server.js";
import "./modules/stream.js";
import "./modules/styles.js";
import "./modules/tabs.js";
import "./modules/texts.js";
import "./modules/device_settings.js";

/** @typedef {import("./modules/types.js").Message} Message */
/** @typedef {import("./modules/types.js").RunAnswer} RunAnswer */
/** @typedef {import("./modules/types.js").State} State */
