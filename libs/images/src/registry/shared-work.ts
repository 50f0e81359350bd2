/** Work that several callers want at once is done once; all hear of its progress, and it ends when none is left. */
interface Running<Result, Line> {
  result: Promise<Result>;
  listeners: Set<(line: Line) => void>;
  /** What a caller who comes late has missed; bounded by keeping the newest line of each id. */
  lines: Map<string, Line>;
  waiting: number;
  abort: AbortController;
}

export class SharedWork<Result, Line extends { id?: string; status?: string }> {
  private readonly running = new Map<string, Running<Result, Line>>();

  async run(
    key: string,
    caller: { listener: (line: Line) => void; signal?: AbortSignal },
    work: (emit: (line: Line) => void, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    caller.signal?.throwIfAborted();
    const shared = this.join(key, work);
    for (const line of shared.lines.values()) caller.listener(line);
    shared.listeners.add(caller.listener);
    shared.waiting++;
    let leave: () => void = () => undefined;
    const left = new Promise<never>((_fulfil, reject) => {
      leave = () => reject(caller.signal?.reason);
      caller.signal?.addEventListener('abort', leave, { once: true });
    });
    try {
      return await Promise.race([shared.result, left]);
    } finally {
      caller.signal?.removeEventListener('abort', leave);
      shared.listeners.delete(caller.listener);
      // The last one to leave turns off the light.
      if (--shared.waiting === 0) this.end(key, shared, caller.signal?.reason);
    }
  }

  private join(
    key: string,
    work: (emit: (line: Line) => void, signal: AbortSignal) => Promise<Result>,
  ): Running<Result, Line> {
    const before = this.running.get(key);
    if (before !== undefined) return before;
    const abort = new AbortController();
    const listeners = new Set<(line: Line) => void>();
    const lines = new Map<string, Line>();
    const emit = (line: Line): void => {
      lines.set(line.id ?? line.status ?? '', line);
      for (const listener of listeners) listener(line);
    };
    const result = work(emit, abort.signal);
    const shared = { result, listeners, lines, waiting: 0, abort };
    this.running.set(key, shared);
    const forget = (): void => this.forget(key, shared);
    result.then(forget, forget);
    return shared;
  }

  private forget(key: string, shared: Running<Result, Line>): void {
    if (this.running.get(key) === shared) this.running.delete(key);
  }

  private end(key: string, shared: Running<Result, Line>, reason: unknown): void {
    this.forget(key, shared);
    shared.abort.abort(reason);
  }

  abortAll(reason: unknown): void {
    for (const shared of this.running.values()) shared.abort.abort(reason);
  }
}
