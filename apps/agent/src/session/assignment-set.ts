/** What the leader has told this node, as one keyed set. */
import {
  EnxameError,
  type AssignmentDelta,
  type AssignmentItem,
  type AssignmentKind,
  type BalanceItem,
  type NetworkItem,
  type PayloadItem,
  type PeerItem,
  type RevisionItem,
  type SettingsItem,
  type TaskItem,
} from '#libs/model';

interface Tables {
  task: Map<string, TaskItem>;
  revision: Map<string, RevisionItem>;
  network: Map<string, NetworkItem>;
  peer: Map<string, PeerItem>;
  balance: Map<string, BalanceItem>;
  settings: Map<string, SettingsItem>;
  secret: Map<string, PayloadItem>;
  config: Map<string, PayloadItem>;
}

export const assignmentKinds = [
  'task',
  'revision',
  'network',
  'peer',
  'balance',
  'settings',
  'secret',
  'config',
] as const satisfies readonly AssignmentKind[];

function emptyTables(): Tables {
  return {
    task: new Map(),
    revision: new Map(),
    network: new Map(),
    peer: new Map(),
    balance: new Map(),
    settings: new Map(),
    secret: new Map(),
    config: new Map(),
  };
}

export class AssignmentSet {
  #tables = emptyTables();
  #generation = 0;

  get generation(): number {
    return this.#generation;
  }

  get tables(): Readonly<Tables> {
    return this.#tables;
  }

  /**
   * Takes a message and returns the kinds it changed. A complete one replaces everything. `failed-precondition` for a
   * generation that is not newer than the last: it comes from a leader that no longer leads.
   */
  apply(delta: AssignmentDelta): ReadonlySet<AssignmentKind> {
    if (delta.generation <= this.#generation) {
      throw new EnxameError(
        'failed-precondition',
        `assignment of generation ${delta.generation} came after generation ${this.#generation}`,
      );
    }
    this.#generation = delta.generation;
    if (delta.complete) {
      this.#tables = emptyTables();
      for (const item of delta.put) this.#put(item);
      return new Set(assignmentKinds);
    }
    const changed = new Set<AssignmentKind>();
    for (const item of delta.put) {
      this.#put(item);
      changed.add(item.kind);
    }
    for (const { kind, id } of delta.remove) {
      this.#tables[kind].delete(id);
      changed.add(kind);
    }
    return changed;
  }

  #put(item: AssignmentItem): void {
    switch (item.kind) {
      case 'task':
        this.#tables.task.set(item.id, item);
        break;
      case 'revision':
        this.#tables.revision.set(item.id, item);
        break;
      case 'network':
        this.#tables.network.set(item.id, item);
        break;
      case 'peer':
        this.#tables.peer.set(item.id, item);
        break;
      case 'balance':
        this.#tables.balance.set(item.id, item);
        break;
      case 'settings':
        this.#tables.settings.set(item.id, item);
        break;
      case 'secret':
      case 'config':
        this.#tables[item.kind].set(item.id, item);
        break;
    }
  }
}
