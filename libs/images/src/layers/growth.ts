/**
 * What the reader of a growing file is told: `+` that there is more of it, `.` that it is whole. Words that nobody has
 * taken yet become one. Rejects when the file will not become whole.
 */
const more = Buffer.from('+');
const all = Buffer.from('.');

export class Growth implements AsyncIterable<Buffer> {
  private news: 'none' | 'grown' | 'whole' | 'failed' = 'none';
  private reason: unknown;
  private wake: (() => void) | undefined;

  grown(): void {
    if (this.news === 'none') this.tell('grown');
  }

  whole(): void {
    if (this.news !== 'failed') this.tell('whole');
  }

  fail(reason: unknown): void {
    this.reason = reason;
    this.tell('failed');
  }

  private tell(news: Growth['news']): void {
    this.news = news;
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      if (this.news === 'none') await new Promise<void>((fulfil) => (this.wake = fulfil));
      if (this.news === 'failed') throw this.reason;
      if (this.news === 'whole') {
        yield all;
        return;
      }
      this.news = 'none';
      yield more;
    }
  }
}
