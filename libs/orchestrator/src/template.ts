/** Whether two task templates are the same thing to a running task. */
import type { ClusterView, RevisionId, TaskSpec } from '#libs/model';

export class TemplateComparison {
  readonly #view: ClusterView;
  readonly #texts = new Map<string, string>();

  constructor(view: ClusterView) {
    this.#view = view;
  }

  /** Two revisions may hold equal templates: a change of the replica count is no reason to replace a task. */
  same(a: RevisionId, b: RevisionId): boolean {
    return a === b || this.#text(a, false) === this.#text(b, false);
  }

  /** True when nothing but the placement constraints differs: these bind where a task may be, not what it runs. */
  sameButForConstraints(a: RevisionId, b: RevisionId): boolean {
    return a === b || this.#text(a, true) === this.#text(b, true);
  }

  #text(id: RevisionId, withoutConstraints: boolean): string {
    const key = `${id} ${withoutConstraints}`;
    const known = this.#texts.get(key);
    if (known !== undefined) return known;
    const template = this.#view.revisions.get(id)?.taskTemplate;
    // A revision that is not there equals itself only.
    const text = template === undefined ? key : canonical(withoutConstraints ? strip(template) : template);
    this.#texts.set(key, text);
    return text;
  }
}

function strip(template: TaskSpec): TaskSpec {
  const { Constraints: _, ...placement } = template.Placement ?? {};
  return { ...template, Placement: placement };
}

// Keys in order; absent, empty and null members are the same thing to Docker's clients.
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) => {
    if (member === null || typeof member !== 'object' || Array.isArray(member)) return member;
    const entries = Object.entries(member)
      .filter(([, inner]) => !isEmpty(inner))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries);
  });
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}
