/** A Dockerfile as a whole: the arguments before the first FROM, and the stages. */
import { EnxameError } from '#libs/model';
import { dockerfileError } from './dockerfile-error.js';
import { readInstruction, type Instruction } from './instructions.js';
import { readLines } from './lines.js';

export type FromInstruction = Extract<Instruction, { kind: 'FROM' }>;
export type StageInstruction = Exclude<Instruction, { kind: 'FROM' }>;

export interface Stage {
  from: FromInstruction;
  instructions: StageInstruction[];
}

export interface Dockerfile {
  escape: string;
  /** ARG instructions in front of the first stage. */
  globalArgs: Extract<Instruction, { kind: 'ARG' }>[];
  stages: Stage[];
}

/** Throws `invalid-argument` with the line and the rule. */
export function parseDockerfile(text: string, name = 'Dockerfile'): Dockerfile {
  const { escape, lines } = readLines(text);
  if (text.trim() === '') throw invalid(`the Dockerfile (${name}) cannot be empty`);
  if (lines.length === 0) throw invalid('file with no instructions');
  const globalArgs: Dockerfile['globalArgs'] = [];
  const stages: Stage[] = [];
  for (const line of lines) {
    const instruction = readInstruction(line, escape);
    const stage = stages.at(-1);
    if (instruction.kind === 'FROM') stages.push({ from: instruction, instructions: [] });
    else if (stage !== undefined) stage.instructions.push(instruction);
    else if (instruction.kind === 'ARG') globalArgs.push(instruction);
    else throw dockerfileError(instruction.line, 'no build stage in current context');
  }
  if (stages.length === 0) throw invalid('no build stage in current context');
  return { escape, globalArgs, stages };
}

/** The stages up to the one that `target` names or numbers; all of them when it is empty. */
export function stagesUpTo(stages: readonly Stage[], target: string): Stage[] {
  if (target === '') return [...stages];
  const wanted = target.toLowerCase();
  const named = stages.findIndex(({ from }) => from.stageName === wanted);
  const at = named >= 0 ? named : /^\d{1,6}$/.test(target) ? Number(target) : -1;
  if (at < 0 || at >= stages.length) {
    throw invalid(`target stage "${target}" could not be found`);
  }
  return stages.slice(0, at + 1);
}

/** A trigger of a base image as instructions of the image built on it. */
export function readTrigger(trigger: string): StageInstruction {
  const { escape, lines } = readLines(trigger);
  const line = lines[0];
  const instruction = line && readInstruction(line, escape);
  if (instruction === undefined || lines.length > 1 || instruction.kind === 'FROM') {
    throw invalid(`the base image's ONBUILD trigger is not one instruction: ${JSON.stringify(trigger)}`);
  }
  return instruction;
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}
