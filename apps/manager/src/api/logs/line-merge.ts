/**
 * Lines of many sources in the order of their times. Each source is in order itself, so the earliest of the first
 * lines is next, once every source has shown one or has ended. Whoever follows live sources cannot wait for the silent
 * ones: with `patienceMs` a line waits that long for an earlier one at most.
 */
export interface TimedLine {
  /** Fixed width, so that it sorts as text. */
  at: string;
}

/** Of one source that may wait here; one that has more waits with the rest. */
const linesHeldMax = 256;

export interface LineMergeOptions<T> {
  /** Called for one line at a time. */
  write(line: T): Promise<void>;
  patienceMs?: number;
  nowMs(): number;
}

interface Held<T> {
  line: T;
  sinceMs: number;
}

interface Source<T> {
  held: Held<T>[];
  hasEnded: boolean;
  wake: (() => void) | undefined;
}

export class LineMerge<T extends TimedLine> {
  readonly #options: LineMergeOptions<T>;
  readonly #sources = new Set<Source<T>>();
  #isStarted = false;
  #isWriting = false;
  /** Something has come since the last look. */
  #isWanted = false;
  #onIdle: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failure: unknown;

  constructor(options: LineMergeOptions<T>) {
    this.#options = options;
  }

  /** `add` resolves when the source may bring its next line, and rejects when the reader is gone. */
  open(): { add(line: T): Promise<void>; end(): void } {
    const source: Source<T> = { held: [], hasEnded: false, wake: undefined };
    this.#sources.add(source);
    return {
      add: async (line) => {
        if (this.#failure !== undefined) throw this.#failure;
        source.held.push({ line, sinceMs: this.#options.nowMs() });
        this.#pump();
        if (source.held.length >= linesHeldMax) await new Promise<void>((resolve) => (source.wake = resolve));
      },
      end: () => {
        source.hasEnded = true;
        this.#pump();
      },
    };
  }

  /** All sources that are there from the beginning have been opened. */
  start(): void {
    this.#isStarted = true;
    this.#pump();
  }

  /** Resolves when every source has ended and its lines are written. */
  async finished(): Promise<void> {
    while (this.#sources.size > 0 && this.#failure === undefined) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }

  #pump(): void {
    if (!this.#isStarted || this.#failure !== undefined) return;
    this.#isWanted = true;
    if (this.#isWriting) return;
    this.#isWriting = true;
    this.#isWanted = false;
    this.#writeDue()
      .catch((error: unknown) => {
        this.#failure = error;
        this.#isWanted = false;
        for (const source of this.#sources) source.wake?.();
      })
      .finally(() => {
        this.#isWriting = false;
        if (this.#isWanted) this.#pump();
        else this.#onIdle?.();
      });
  }

  async #writeDue(): Promise<void> {
    clearTimeout(this.#timer);
    for (;;) {
      const next = this.#next();
      if (next === undefined) return;
      const [held] = next.held.splice(0, 1);
      if (held !== undefined) await this.#options.write(held.line);
      if (next.held.length < linesHeldMax) {
        next.wake?.();
        next.wake = undefined;
      }
    }
  }

  /** The source whose first line is to be written now. */
  #next(): Source<T> | undefined {
    let earliest: Source<T> | undefined;
    let isSomeoneSilent = false;
    for (const source of this.#sources) {
      const [first] = source.held;
      if (first !== undefined) {
        const before = earliest?.held[0];
        if (before === undefined || first.line.at < before.line.at) earliest = source;
      } else if (source.hasEnded) this.#sources.delete(source);
      else isSomeoneSilent = true;
    }
    const first = earliest?.held[0];
    if (first === undefined || !isSomeoneSilent) return earliest;
    const { patienceMs, nowMs } = this.#options;
    if (patienceMs === undefined) return undefined;
    const leftMs = first.sinceMs + patienceMs - nowMs();
    if (leftMs <= 0) return earliest;
    this.#timer = setTimeout(() => this.#pump(), leftMs);
    return undefined;
  }
}
