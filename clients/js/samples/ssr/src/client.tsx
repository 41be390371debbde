import { hydrateRoot } from "react-dom/client";
import { App } from "./App";

hydrateRoot(document.getElementById("app")!, <App />, {
  onRecoverableError: (error) => console.error("hydration", error),
});
