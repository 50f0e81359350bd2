/**
 * When a node asks for its next certificate: at a random point between 50 and 80 % of the certificate's life, so
 * that nodes that joined together do not all come back together. `random` is in [0, 1).
 */
export function renewalTimeMs(options: { notBeforeMs: number; notAfterMs: number; random: number }): number {
  const lifeMs = options.notAfterMs - options.notBeforeMs;
  return Math.round(options.notBeforeMs + lifeMs * (0.5 + 0.3 * options.random));
}
