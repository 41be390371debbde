// The look of the element.

const STYLES = `
:host {
  --_accent: var(--belfry-accent, light-dark(#8a5a00, #f6c453));
  --_accent-ink: var(--belfry-accent-ink, light-dark(#fff, #2a1f00));
  --_badge: var(--belfry-badge, light-dark(#b3261e, #ff8f86));
  --_badge-ink: var(--belfry-badge-ink, light-dark(#fff, #3b0907));
  --_paper: var(--belfry-paper, light-dark(#fff, #1f2226));
  --_hover: var(--belfry-hover, light-dark(#f6f5f2, #282c31));
  --_unread: var(--belfry-unread, light-dark(#fdf7ea, #2a2720));
  --_ink: var(--belfry-ink, light-dark(#1f2328, #e8e6e3));
  --_faint: var(--belfry-faint, light-dark(#5d646d, #a2a8b0));
  --_line: var(--belfry-line, light-dark(#e0ddd6, #3a3f46));
  --_radius: var(--belfry-radius, 12px);
  --_info: light-dark(#0b62b0, #7cb8f5);
  --_success: light-dark(#1a7240, #6fce93);
  --_warning: light-dark(#8f5b00, #f0b95a);
  --_error: light-dark(#b3261e, #ff8f86);
  display: inline-block;
  color: var(--_ink);
  font: var(--belfry-font, 400 0.9375rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans SC", sans-serif);
  text-align: start;
}
:host([inline]), :host(belfry-message) { display: block; }
:host([hidden]) { display: none; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
svg { display: block; width: 1.25rem; height: 1.25rem; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
button { margin: 0; padding: 0; border: 0; background: none; color: inherit; font: inherit; cursor: pointer; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.bell { position: relative; display: grid; place-items: center; width: 2.75rem; height: 2.75rem; border-radius: 50%; color: inherit; }
.bell svg { width: 1.5rem; height: 1.5rem; }
.bell[data-off] svg { opacity: 0.45; }
.bell[data-off]::after { position: absolute; inset-block-end: 0.35rem; inset-inline-end: 0.35rem; width: 0.7rem; height: 0.7rem; border: 2px solid var(--_paper); border-radius: 50%; background: var(--_warning); content: ""; }
.bell[data-off="final"]::after { background: var(--_error); }
.bell:hover, .bell[aria-expanded="true"] { background: var(--_hover); }
.badge { position: absolute; inset-block-start: 0.1rem; inset-inline-end: 0; min-width: 1.25rem; padding: 0 0.3rem; border-radius: 1rem; background: var(--_badge); color: var(--_badge-ink); font-size: 0.72rem; font-weight: 700; line-height: 1.25rem; text-align: center; }

.panel { inset: auto; flex-direction: column; width: 100%; margin: 0; padding: 0; overflow: hidden; border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_paper); color: var(--_ink); }
.panel:popover-open, :host([inline]) .panel { display: flex; }
.panel[popover] { width: min(26.5rem, 100vw); height: var(--_height); inset-block-start: var(--_top); left: var(--_left); box-shadow: 0 12px 40px rgb(0 0 0 / 0.22); }
.head { display: flex; align-items: center; gap: 0.25rem; padding: 0.6rem 0.6rem 0.25rem 1rem; padding-inline: 1rem 0.6rem; }
h2 { flex: 1; margin: 0; font-size: 1.1rem; font-weight: 650; }
.icon-button { display: grid; flex: none; place-items: center; width: 2.25rem; height: 2.25rem; border-radius: 8px; color: var(--_faint); }
.icon-button:hover { background: var(--_hover); color: var(--_ink); }
.tabs { display: flex; flex: none; gap: 0.25rem; overflow: auto hidden; padding: 0 0.75rem; border-block-end: 1px solid var(--_line); }
[role="tab"] { display: flex; flex: none; align-items: center; gap: 0.35rem; padding: 0.5rem 0.6rem; border-block-end: 2px solid transparent; color: var(--_faint); font-weight: 550; }
[role="tab"]:focus-visible { outline-offset: -2px; }
[role="tab"]:hover { color: var(--_ink); }
[role="tab"][aria-selected="true"] { border-color: var(--_accent); color: var(--_ink); }
[role="tab"] span { padding: 0 0.4rem; border-radius: 1rem; background: var(--_hover); color: var(--_faint); font-size: 0.8rem; }
.settings { padding: 0.6rem 1rem; border-block-end: 1px solid var(--_line); background: var(--_hover); }
.settings label { display: flex; align-items: center; gap: 0.5rem; min-height: 2rem; cursor: pointer; }
.settings input { width: 1.1rem; height: 1.1rem; margin: 0; accent-color: var(--_accent); }
.settings p { margin: 0.25rem 0 0; color: var(--_faint); font-size: 0.85rem; }
.notice, .failure, .done { order: 1; border-block-start: 1px solid var(--_line); }
:host([inline]) :is(.notice, .failure, .done) { position: sticky; z-index: 3; inset-block-end: 0; }
.done { display: flex; align-items: center; justify-content: space-between; gap: 0.75rem; padding: 0.4rem 1rem; background: var(--_hover); font-size: 0.875rem; }
.notice { display: flex; align-items: center; gap: 0.75rem; padding: 0.5rem 1rem; background: var(--_hover); color: var(--_faint); font-size: 0.875rem; }
.notice::before { flex: none; width: 0.55rem; height: 0.55rem; border-radius: 50%; background: var(--_warning); content: ""; }
.notice[data-final="true"]::before { background: var(--_error); }
.failure { margin: 0; padding: 0.5rem 1rem; background: var(--_hover); color: var(--_error); font-size: 0.875rem; }
.failure:empty { display: none; }
.text-button { padding: 0.2rem 0.5rem; border-radius: 6px; color: var(--_accent); font-weight: 600; }
.text-button:hover { text-decoration: underline; }

.list { position: relative; flex: 1; overflow-y: auto; overscroll-behavior: contain; }
:host([inline]) .panel { overflow: clip; }
:host([inline]) .list { min-height: 16rem; overflow: visible; }
.message { position: relative; display: grid; grid-template-columns: auto 1fr; gap: 0 0.75rem; padding: 0.8rem 1rem; border-block-end: 1px solid var(--_line); }
.gap { overflow-anchor: none; }
.message[data-day]::before { grid-column: 1 / -1; margin: -0.8rem -1rem 0.8rem; padding: 0.35rem 1rem; border-block-end: 1px solid var(--_line); background: var(--_paper); color: var(--_faint); font-size: 0.8rem; font-weight: 650; content: attr(data-day); }
.message:hover { background: var(--_hover); }
.message:focus-visible { outline-offset: -2px; }
.message.unread { background: var(--_unread); }
[data-level="info"] { --_tone: var(--_info); }
[data-level="success"] { --_tone: var(--_success); }
[data-level="warning"] { --_tone: var(--_warning); }
[data-level="error"] { --_tone: var(--_error); }
.sign { display: grid; place-items: center; width: 2.1rem; height: 2.1rem; border-radius: 50%; background: color-mix(in srgb, var(--_tone, var(--_faint)) 14%, transparent); color: var(--_tone, var(--_faint)); }
.content { min-width: 0; }
.line { display: flex; align-items: baseline; gap: 0.75rem; }
h3 { flex: 1; min-width: 0; margin: 0; font-size: 0.9375rem; font-weight: 500; }
h3, .body { display: -webkit-box; overflow: hidden; overflow-wrap: anywhere; -webkit-box-orient: vertical; -webkit-line-clamp: 4; }
.unread h3 { font-weight: 650; }
h3 a { outline-offset: -2px; color: inherit; text-decoration: none; }
h3 a::after { position: absolute; inset: 0; content: ""; }
h3 a:hover { text-decoration: underline; }
time { flex: none; color: var(--_faint); font-size: 0.8rem; white-space: nowrap; }
.unread time::after { display: inline-block; width: 0.5rem; height: 0.5rem; margin-inline-start: 0.4rem; border-radius: 50%; background: var(--_accent); content: ""; }
.body { margin: 0.15rem 0 0; color: var(--_faint); white-space: pre-line; }
.whole :is(h3, .body) { -webkit-line-clamp: none; }
.more { position: relative; z-index: 1; padding: 0.1rem 0; font-size: 0.85rem; }
.whole .more { position: sticky; inset-block-end: 0.25rem; padding: 0.1rem 0.6rem; background: var(--_paper); }
.menu { display: none; }
.tags { display: flex; flex-wrap: wrap; gap: 0.3rem; margin: 0.45rem 0 0; padding: 0; list-style: none; }
.tags li { padding: 0 0.5rem; overflow-wrap: anywhere; border: 1px solid var(--_line); border-radius: 1rem; color: var(--_faint); font-size: 0.78rem; }
.actions { position: relative; z-index: 1; display: flex; flex-wrap: wrap; gap: 0.4rem; margin-block-start: 0.6rem; }
.action { max-width: 100%; overflow-wrap: anywhere; padding: 0.3rem 0.8rem; border: 1px solid var(--_line); border-radius: 8px; background: var(--_paper); color: var(--_ink); font-size: 0.875rem; font-weight: 550; text-decoration: none; }
.action:first-child { border-color: transparent; background: var(--_accent); color: var(--_accent-ink); }
.action:hover { filter: brightness(1.06); }
.tools { position: absolute; z-index: 2; inset-block-start: 0.4rem; inset-inline-end: 0.6rem; display: flex; border: 1px solid var(--_line); border-radius: 10px; background: var(--_paper); opacity: 0; }
.message:hover .tools, .message:focus .tools, .message:focus-within .tools { opacity: 1; }
.message[data-day] .tools { margin-block-start: 1.9rem; }
.tools svg { width: 1.1rem; height: 1.1rem; }
.blank { display: grid; justify-items: center; gap: 0.35rem; padding: 3.5rem 1.5rem; color: var(--_faint); text-align: center; }
.blank svg { width: 2.5rem; height: 2.5rem; margin-block-end: 0.4rem; opacity: 0.6; }
.blank strong { color: var(--_ink); font-weight: 600; }
.end { min-height: 1px; padding: 0.75rem; color: var(--_faint); font-size: 0.875rem; text-align: center; }
.end:empty { padding: 0; }

@media (max-width: 30rem) {
  .panel[popover] { inset: 0; width: 100vw; height: 100dvh; border: 0; border-radius: 0; }
}
@media (hover: none) {
  .message { grid-template-columns: auto 1fr auto; gap: 0 0.6rem; padding: 0.5rem 0.25rem; padding-inline-start: 0.75rem; }
  .message[data-day]::before { margin: -0.5rem -0.25rem 0.5rem -0.75rem; margin-inline: -0.75rem -0.25rem; }
  .sign { width: 1.75rem; height: 1.75rem; }
  .sign svg { width: 1rem; height: 1rem; }
  h3, .body { -webkit-line-clamp: 2; }
  .menu { position: relative; z-index: 1; display: grid; width: 2.75rem; height: 2.75rem; margin-block: -0.3rem; }
  .tools { display: none; inset-block-start: 0.25rem; inset-inline-end: 3rem; }
  .choosing .tools { display: flex; opacity: 1; }
  .tools .icon-button { width: 2.75rem; height: 2.75rem; }
}
@media (prefers-reduced-motion: no-preference) {
  .message.new { animation: arrive 0.4s ease-out; }
  @keyframes arrive { from { opacity: 0; transform: translateY(-0.5rem); } }
}
@media (forced-colors: active) {
  .badge, .unread time::after { forced-color-adjust: none; }
}
`;

export function styleSheet(styles = STYLES) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(styles);
  return sheet;
}
