/** Request bodies become instances of decorated classes, or one error that names the field and the rule. */
import { EnxameError } from '#libs/model';
import { plainToInstance } from 'class-transformer';
import { validateSync, type ValidationError } from 'class-validator';
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
  const instance = plainToInstance(Dto, body, { exposeUnsetFields: false });
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
