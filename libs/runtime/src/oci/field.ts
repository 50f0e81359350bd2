/** A value of a JSON document that knows where it stands, so that whoever refuses it can say which one it is. */
import { EnxameError } from '#libs/model';

const wholeNumberMax = 2 ** 64;

export class Field {
  constructor(
    readonly value: unknown,
    readonly path: string,
  ) {}

  /** JSON's null is as good as nothing. */
  get isAbsent(): boolean {
    return this.value === undefined || this.value === null;
  }

  at(name: string): Field {
    if (this.isAbsent) return new Field(undefined, this.pathOf(name));
    if (typeof this.value !== 'object' || Array.isArray(this.value)) throw this.invalid('must be an object');
    return new Field((this.value as Record<string, unknown>)[name], this.pathOf(name));
  }

  /** Members of an object, none when it is absent. */
  entries(): [string, Field][] {
    if (this.isAbsent) return [];
    if (typeof this.value !== 'object' || Array.isArray(this.value)) throw this.invalid('must be an object');
    return Object.keys(this.value as object).map((name) => [name, this.at(name)]);
  }

  list(): Field[] {
    if (this.isAbsent) return [];
    if (!Array.isArray(this.value)) throw this.invalid('must be a list');
    return this.value.map((item, index) => new Field(item, `${this.path}[${index}]`));
  }

  text(otherwise?: string): string {
    if (this.isAbsent && otherwise !== undefined) return otherwise;
    if (typeof this.value !== 'string') throw this.invalid('must be a string');
    if (this.value.includes('\0')) throw this.invalid('must not hold a NUL byte');
    return this.value;
  }

  texts(): string[] {
    return this.list().map((item) => item.text());
  }

  /** Absolute, as the specification asks. */
  absolutePath(): string {
    const path = this.text();
    if (!path.startsWith('/')) throw this.invalid(`must be an absolute path: "${path}"`);
    return path;
  }

  truth(): boolean {
    if (this.isAbsent) return false;
    if (typeof this.value !== 'boolean') throw this.invalid('must be true or false');
    return this.value;
  }

  /** A whole number within what the kernel's 64 bits hold. */
  number(otherwise?: number): number {
    if (this.isAbsent && otherwise !== undefined) return otherwise;
    if (
      typeof this.value !== 'number' ||
      !Number.isInteger(this.value) ||
      Math.abs(this.value) > wholeNumberMax
    )
      throw this.invalid('must be a whole number');
    return this.value;
  }

  /** Absent stays absent. */
  numberIfAny(): number | undefined {
    return this.isAbsent ? undefined : this.number();
  }

  oneOf<T extends string>(allowed: readonly T[], otherwise?: T): T {
    if (this.isAbsent && otherwise !== undefined) return otherwise;
    const text = this.text();
    const found = allowed.find((one) => one === text);
    if (found === undefined) throw this.invalid(`"${text}" must be one of ${allowed.join(', ')}`);
    return found;
  }

  invalid(rule: string): EnxameError {
    return new EnxameError('invalid-argument', `${this.path || 'config.json'}: ${rule}`);
  }

  /** For what this runtime does not do: said, not passed over. */
  refuseIfAny(isNothing: (value: unknown) => boolean = () => false): void {
    if (this.isAbsent || isNothing(this.value)) return;
    throw new EnxameError('not-implemented', `${this.path}: not available in this version`);
  }

  private pathOf(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }
}
