/** Waits until something is so, and fails with words when it does not become so in time. */
export async function eventually(
  isSo: () => boolean,
  words: () => string = () => 'it did not come to be',
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`after ${timeoutMs} ms: ${words()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
