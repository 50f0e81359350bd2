/**
 * `npm run sim`: worlds one after the other, for as long as asked; or the judge, on a recorded history.
 *
 *     npm run sim -- --minutes 60 --seed 7      from seed 7 on, for an hour
 *     npm run sim -- --seed 7 --worlds 1 --trace
 *     npm run sim -- --seed 1 --worlds 20 --plot figure-eight    each with this plot; `none` for none
 *     npm run sim -- --seed 1 --fault forget-vote               until a core that is wrong so is noticed
 *     npm run sim -- --check history.jsonl      is it linearizable? exit code 1 when not
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type FaultName, faultNames } from '#libs/raft/testing';
import { parseHistory, toOperations } from './linearizability/history.js';
import { describeVerdict, judge } from './linearizability/judge.js';
import { keyValueModel } from './linearizability/key-value.js';
import { type PlotName, plotNames } from './plots/index.js';
import { addReport, describeReport, emptyReport } from './report.js';
import { runWorld } from './run.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string' },
    worlds: { type: 'string', default: 'Infinity' },
    fault: { type: 'string' },
    plot: { type: 'string' },
    trace: { type: 'boolean', default: false },
    check: { type: 'string' },
  },
});

function number(name: 'minutes' | 'seed' | 'worlds', value: string): number {
  const parsed = Number(value);
  if (Number.isNaN(parsed) || parsed < 0) fail(`--${name} must be a number that is not negative`);
  return parsed;
}

function fail(what: string): never {
  console.error(what);
  process.exit(2);
}

function check(file: string): number {
  try {
    const verdict = judge(keyValueModel, toOperations(parseHistory(readFileSync(file, 'utf8'))));
    console.log(describeVerdict(keyValueModel, verdict));
    return verdict.kind === 'linearizable' ? 0 : 1;
  } catch (error) {
    return fail(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function simulate(): Promise<number> {
  const firstSeed =
    values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : number('seed', values.seed);
  const endMs = performance.now() + number('minutes', values.minutes) * 60_000;
  const worldsMax = number('worlds', values.worlds);
  const { fault, plot } = values;
  if (fault !== undefined && !faultNames.includes(fault as FaultName)) {
    fail(`--fault must be one of ${faultNames.join(', ')}`);
  }
  if (plot !== undefined && plot !== 'none' && !plotNames.includes(plot as PlotName)) {
    fail(`--plot must be none or one of ${plotNames.join(', ')}`);
  }
  console.log(`first seed: ${firstSeed}`);
  const total = emptyReport();
  let worlds = 0;
  let nextWordMs = performance.now() + 60_000;
  for (; worlds < worldsMax && performance.now() < endMs; worlds++) {
    try {
      const report = await runWorld({
        seed: firstSeed + worlds,
        ...(fault === undefined ? {} : { fault: fault as FaultName }),
        ...(plot === undefined ? {} : { plot: plot as PlotName | 'none' }),
        ...(values.trace ? { trace: console.log } : {}),
      });
      addReport(total, report);
    } catch (error) {
      console.log(error instanceof Error ? error.message : String(error));
      console.log(describeReport(total, worlds));
      return 1;
    }
    if (performance.now() < nextWordMs) continue;
    nextWordMs += 60_000;
    console.log(describeReport(total, worlds + 1));
  }
  console.log(describeReport(total, worlds));
  return 0;
}

process.exitCode = values.check === undefined ? await simulate() : check(values.check);
