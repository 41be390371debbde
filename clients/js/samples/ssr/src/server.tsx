import { BelfryClient } from "belfry-client";
import { renderToString } from "react-dom/server";
import { App } from "./App";

/** The page as HTML, to be put into index.html. Nothing connects on the server. */
export const render = () => renderToString(<App />);

export const isHere = typeof BelfryClient === "function";
