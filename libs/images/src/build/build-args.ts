/** `--build-arg` and ARG: which arguments a stage may see, and what they are worth. */

/** Known without an ARG; they are not part of what makes a step's cache. */
const predefined = new Set(
  ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [
    name,
    name.toLowerCase(),
  ]),
);

/** From the command line. Null asks for a value that the client's environment did not have. */
export type GivenArgs = Readonly<Record<string, string | null>>;

export class BuildArgs {
  private readonly allowed = new Map<string, string | undefined>();

  constructor(
    private readonly given: GivenArgs,
    private readonly global: Map<string, string | undefined>,
    private readonly used: Set<string>,
  ) {}

  static forFile(given: GivenArgs): BuildArgs {
    return new BuildArgs(given, new Map(), new Set());
  }

  /** An ARG in front of the first FROM. */
  addGlobal(name: string, value: string | undefined): void {
    this.used.add(name);
    this.global.set(name, value);
  }

  /** What FROM lines may use. */
  globalVariables(): Map<string, string> {
    const variables = new Map<string, string>();
    for (const [name, value] of this.global) {
      const worth = this.givenValue(name) ?? value;
      if (worth !== undefined) variables.set(name, worth);
    }
    return variables;
  }

  /** A new stage knows none of the others' arguments. */
  forStage(): BuildArgs {
    return new BuildArgs(this.given, this.global, this.used);
  }

  /** An ARG of the stage; without a value it takes the global one's. */
  add(name: string, value: string | undefined): void {
    this.used.add(name);
    this.allowed.set(name, value ?? this.global.get(name));
  }

  private givenValue(name: string): string | undefined {
    return Object.hasOwn(this.given, name) ? (this.given[name] ?? undefined) : undefined;
  }

  /** What the stage's instructions see; the image's own variables win. */
  variables(env: ReadonlyMap<string, string>, options: { withPredefined: boolean }): Map<string, string> {
    const variables = new Map<string, string>();
    for (const name of Object.keys(this.given)) {
      const value = this.givenValue(name);
      if (!predefined.has(name) || this.allowed.has(name) || value === undefined) continue;
      this.used.add(name);
      if (options.withPredefined) variables.set(name, value);
    }
    for (const [name, value] of this.allowed) {
      const worth = this.givenValue(name) ?? value;
      if (worth !== undefined) variables.set(name, worth);
    }
    for (const name of env.keys()) variables.delete(name);
    return variables;
  }

  /** Given, but no ARG asks for it. */
  unused(): string[] {
    return Object.keys(this.given)
      .filter((name) => !this.used.has(name) && !predefined.has(name))
      .sort();
  }
}
