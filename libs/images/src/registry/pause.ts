/** Waiting between attempts. */
const delayFactorMax = 16;

/**
 * Doubles from one attempt to the next, up to a limit; a random half of it keeps a cluster's nodes from asking a
 * registry that just came back all at once.
 */
export function retryPauseMs(attempt: number, firstMs: number, fraction: number = Math.random()): number {
  const wholeMs = firstMs * Math.min(2 ** (attempt - 1), delayFactorMax);
  return wholeMs * (0.5 + fraction / 2);
}

/** Waits; rejects at once with the signal's reason when it aborts. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((fulfil, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      fulfil();
    }, ms);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
