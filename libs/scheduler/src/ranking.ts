/**
 * Chooses among the nodes that passed the filters. Nodes where this version keeps failing go last, then the node with
 * fewest tasks of the service, then with fewest tasks of all. Spread preferences come before that: the nodes form a
 * tree by label values and each step goes to the branch with fewest tasks of the service.
 * Source: SwarmKit `manager/scheduler/nodeset.go`, `decision_tree.go`.
 */
import type { Node } from '#libs/model';
import type { Demand } from './demand.js';
import { recentFailuresMax, type NodeLoad } from './node-load.js';

interface Candidate {
  load: NodeLoad;
  penalised: boolean;
  ofService: number;
}

interface Branch {
  /** Tasks of the service on all nodes below, whether they take more or not. */
  tasks: number;
  children: Branch[];
  candidates: Candidate[];
}

export interface Ranking {
  /** The best node now, or undefined when none is left. */
  best(): NodeLoad | undefined;
  /** Counts one more task on the node `best` gave; a node that can take no more leaves. */
  placed(stays: boolean): void;
}

/** `loads` are all nodes in a fixed order, `accepts` says which may take a task now. */
export function rankNodes(
  demand: Demand,
  loads: readonly NodeLoad[],
  accepts: (load: NodeLoad) => boolean,
): Ranking {
  const root = grow(demand, loads, accepts, 0);
  let path: Branch[] = [];
  let chosen: Candidate | undefined;

  const choose = (branch: Branch): Candidate | undefined => {
    if (branch.children.length === 0) {
      let best: Candidate | undefined;
      for (const candidate of branch.candidates) {
        if (best === undefined || goesBefore(candidate, best)) best = candidate;
      }
      if (best !== undefined) path.push(branch);
      return best;
    }
    for (const child of [...branch.children].sort((a, b) => a.tasks - b.tasks)) {
      const best = choose(child);
      if (best !== undefined) {
        path.push(branch);
        return best;
      }
    }
    return undefined;
  };

  return {
    best() {
      path = [];
      chosen = choose(root);
      return chosen?.load;
    },
    placed(stays) {
      const leaf = path[0];
      if (chosen === undefined || leaf === undefined) throw new Error('placed() before best() gave a node');
      for (const branch of path) branch.tasks++;
      chosen.ofService++;
      if (!stays) leaf.candidates.splice(leaf.candidates.indexOf(chosen), 1);
      chosen = undefined;
    },
  };
}

function grow(
  demand: Demand,
  loads: readonly NodeLoad[],
  accepts: (load: NodeLoad) => boolean,
  depth: number,
): Branch {
  const branch: Branch = { tasks: 0, children: [], candidates: [] };
  for (const load of loads) branch.tasks += load.stayingByService.get(demand.service.id) ?? 0;
  const descriptor = demand.spreadOver[depth];
  if (descriptor === undefined) {
    branch.candidates = loads.filter(accepts).map((load) => ({
      load,
      penalised: (load.recentFailures.get(demand.revision.id) ?? 0) >= recentFailuresMax,
      ofService: load.stayingByService.get(demand.service.id) ?? 0,
    }));
    return branch;
  }
  const byValue = new Map<string, NodeLoad[]>();
  for (const load of loads) {
    const value = labelValue(load.node, descriptor);
    const group = byValue.get(value);
    if (group === undefined) byValue.set(value, [load]);
    else group.push(load);
  }
  branch.children = [...byValue.values()].map((group) => grow(demand, group, accepts, depth + 1));
  return branch;
}

// A node without the label is a branch of its own, as in SwarmKit.
function labelValue(node: Readonly<Node>, descriptor: string): string {
  if (descriptor.startsWith('node.labels.')) {
    return node.spec.Labels?.[descriptor.slice('node.labels.'.length)] ?? '';
  }
  if (descriptor.startsWith('engine.labels.')) {
    return node.description.engine.labels[descriptor.slice('engine.labels.'.length)] ?? '';
  }
  return '';
}

function goesBefore(a: Candidate, b: Candidate): boolean {
  if (a.penalised !== b.penalised) return b.penalised;
  if (a.ofService !== b.ofService) return a.ofService < b.ofService;
  return a.load.wantedTotal < b.load.wantedTotal;
}
