// belfry-client/element: defines `<belfry-feed>` and `<belfry-message>`. Where there is no browser, nothing is defined.

export { BelfryFeed, BelfryMessage } from "../../../app/static/modules/element.js";

/** @typedef {import("../../../app/static/modules/texts.js").Texts} Texts */
