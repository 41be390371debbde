// Whether llama.cpp's server stops working within a minute, having begun: its slots say so.
export async function stops(upstream) {
  for (const until = Date.now() + 60_000; Date.now() < until; ) {
    const slots = await (await fetch(`${upstream}/slots`)).json();
    if (!slots.some(({ is_processing: works }) => works)) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}
