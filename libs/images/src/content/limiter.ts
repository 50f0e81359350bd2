/** At most `limit` pieces of work at once; the others wait in the order they came. */
export class Limiter {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly limit: number) {}

  get isFull(): boolean {
    return this.running >= this.limit;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.running >= this.limit) {
      // Whoever ends hands its place over, so `running` stays as it is.
      await new Promise<void>((fulfil) => this.waiting.push(fulfil));
    } else {
      this.running++;
    }
    try {
      return await work();
    } finally {
      const next = this.waiting.shift();
      if (next === undefined) this.running--;
      else next();
    }
  }
}
