/** Request bodies become instances of decorated classes, or one error that names the field and the rule. */
import { EnxameError } from '#libs/model';
import { plainToInstance } from 'class-transformer';
import { getMetadataStorage, validateSync, type ValidationError } from 'class-validator';
import 'reflect-metadata';

const bodyDepthMax = 32;
const problemsShownMax = 5;

/**
 * Checks `body` against the class-validator rules of `Dto` and returns it without the fields the class does not
 * declare, as Docker ignores what it does not know. Throws `invalid-argument` naming each field's path and rule.
 */
export function validateBody<T extends object>(Dto: new () => T, body: unknown): T {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new EnxameError('invalid-argument', 'the request body must be a JSON object');
  }
  refuseDeepNesting(body);
  const instance = instanceOf(Dto, body);
  const problems = validateSync(instance, {
    whitelist: true,
    forbidUnknownValues: false,
    // What is no number need not be told that it is neither less than 0.
    stopAtFirstError: true,
    validationError: { target: false, value: false },
  }).flatMap((problem) => sentencesOf(problem, ''));
  if (problems.length > 0) {
    throw new EnxameError('invalid-argument', problems.slice(0, problemsShownMax).join('; '));
  }
  return instance;
}

/**
 * Go reads a field whatever the case of its name, and the Docker SDK for Python relies on it (`{"replicated": ...}`).
 * What lies below such a name gets its class only once the name is right, so it goes level by level.
 */
function instanceOf<T extends object>(Dto: new () => T, body: object): T {
  let plain = body;
  for (let level = 0; ; level++) {
    const instance = plainToInstance(Dto, plain, { exposeUnsetFields: false });
    if (level > bodyDepthMax || !hasOtherNames(plain, instance)) return instance;
    plain = withProperNames(plain, instance) as object;
  }
}

const namesByClass = new Map<unknown, ReadonlyMap<string, string>>();

/** Declared names of an instance's class by their lower case; none for plain objects, whose names are data. */
function namesOf(instance: object): ReadonlyMap<string, string> {
  // Not `instance.constructor`: a body may have a field of that name.
  const constructor = (Object.getPrototypeOf(instance) as object).constructor;
  const known = namesByClass.get(constructor);
  if (known !== undefined) return known;
  const names = new Map<string, string>();
  if (constructor !== Object && constructor !== Array) {
    const rules = getMetadataStorage().getTargetValidationMetadatas(constructor, '', false, false);
    for (const { propertyName } of rules) names.set(propertyName.toLowerCase(), propertyName);
  }
  namesByClass.set(constructor, names);
  return names;
}

/** The declared name that `name` means, when it is written otherwise and not there as declared. */
function properName(names: ReadonlyMap<string, string>, object: object, name: string): string {
  const proper = names.get(name.toLowerCase());
  return proper === undefined || Object.hasOwn(object, proper) ? name : proper;
}

function memberOf(instance: unknown, name: string): unknown {
  return typeof instance === 'object' && instance !== null
    ? (instance as Record<string, unknown>)[name]
    : undefined;
}

function hasOtherNames(plain: unknown, instance: unknown): boolean {
  if (typeof plain !== 'object' || plain === null) return false;
  if (typeof instance !== 'object' || instance === null) return false;
  const names = namesOf(instance);
  return Object.entries(plain).some(
    ([name, value]) =>
      properName(names, plain, name) !== name || hasOtherNames(value, memberOf(instance, name)),
  );
}

function withProperNames(plain: unknown, instance: unknown): unknown {
  if (typeof plain !== 'object' || plain === null) return plain;
  if (Array.isArray(plain))
    return plain.map((item, index) => withProperNames(item, memberOf(instance, String(index))));
  const names = typeof instance === 'object' && instance !== null ? namesOf(instance) : new Map();
  return Object.fromEntries(
    Object.entries(plain).map(([name, value]) => [
      properName(names, plain, name),
      withProperNames(value, memberOf(instance, name)),
    ]),
  );
}

function sentencesOf(problem: ValidationError, parentPath: string): string[] {
  const isIndex = /^\d+$/.test(problem.property);
  const path =
    parentPath === ''
      ? problem.property
      : isIndex
        ? `${parentPath}[${problem.property}]`
        : `${parentPath}.${problem.property}`;
  const own = Object.values(problem.constraints ?? {}).map((text) => {
    // class-validator's words begin with the bare property; the path says where it is.
    return `invalid ${path}: ${text.startsWith(`${problem.property} `) ? text.slice(problem.property.length + 1) : text}`;
  });
  return [...own, ...(problem.children ?? []).flatMap((child) => sentencesOf(child, path))];
}

/** class-transformer recurses; a body nested thousands deep would end the stack. */
function refuseDeepNesting(body: object): void {
  let level: object[] = [body];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > bodyDepthMax) {
      throw new EnxameError(
        'invalid-argument',
        `the request body is nested deeper than ${bodyDepthMax} levels`,
      );
    }
    const next: object[] = [];
    for (const parent of level) {
      for (const child of Object.values(parent)) {
        if (typeof child === 'object' && child !== null) next.push(child);
      }
    }
    level = next;
  }
}
