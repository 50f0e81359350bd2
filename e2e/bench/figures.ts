/** Samples, their summary, and the table a bench prints. */
import { cpus, loadavg } from 'node:os';

export interface Summary {
  count: number;
  min: number;
  median: number;
  p99: number;
  max: number;
}

export function summarize(samples: readonly number[]): Summary {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { count: sorted.length, min: at(0), median: at(0.5), p99: at(0.99), max: at(1) };
}

export function spread(summary: { min: number; median: number; max: number }): string {
  return `${summary.min.toFixed(1)} / ${summary.median.toFixed(1)} / ${summary.max.toFixed(1)} (min/median/max)`;
}

/** Of the last minute: figures of a busy machine are worth less. */
export function machineLoad(): string {
  return `${loadavg()[0]?.toFixed(1)} on ${cpus().length} cores`;
}

export interface Row {
  figure: string;
  unit: string;
  ours: number;
  peer: string;
  theirs: number;
  /** More is better; less is, when not set. */
  more?: boolean;
  /** The aim, in words, and whether this run met it. */
  aim: string;
  met: boolean;
}

export function printTable(title: string, rows: readonly Row[]): void {
  const show = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(2));
  const cells = [
    ['figure', 'Enxame', 'peer', 'peer has', 'ratio', 'aim'],
    ...rows.map((row) => [
      row.figure,
      `${show(row.ours)} ${row.unit}`,
      row.peer,
      `${show(row.theirs)} ${row.unit}`,
      `${(row.more ? row.ours / row.theirs : row.theirs / row.ours).toFixed(1)}x`,
      `${row.aim}${row.met ? '' : ' (not met)'}`,
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  console.log(`\n${title}`);
  for (const row of cells)
    console.log(
      `  ${row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd()}`,
    );
}
