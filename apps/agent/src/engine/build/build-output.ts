/** What a build says, as lines of Docker's progress stream. */
import type { Progress } from '#libs/images';
import type { ImageId } from '#libs/model';

export class BuildOutput {
  constructor(
    private readonly write: (line: Progress) => void,
    private readonly quiet: boolean,
  ) {}

  text(text: string): void {
    if (!this.quiet) this.write({ stream: text });
  }

  progress(line: Progress): void {
    if (!this.quiet) this.write(line);
  }

  step(number: number, total: number, text: string): void {
    this.text(`Step ${number}/${total} : ${text}`);
    this.text('\n');
  }

  image(id: ImageId | undefined): void {
    this.text(` ---> ${id === undefined ? '' : shortId(id)}\n`);
  }

  /** The id alone is all that is said quietly. */
  done(id: ImageId, tags: readonly string[]): void {
    if (this.quiet) {
      this.write({ stream: `${id}\n` });
      return;
    }
    this.text(`Successfully built ${shortId(id)}\n`);
    for (const tag of tags) this.text(`Successfully tagged ${tag}\n`);
  }
}

/** Twelve digits, as Docker shows ids. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, '').slice(0, 12);
}
