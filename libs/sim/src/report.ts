/** What happened in a run: a schedule in which nothing happens proves nothing. */
export interface RunReport {
  simulatedMs: number;
  elections: number;
  commits: number;
  answers: number;
  crashes: number;
  storageFailures: number;
  membershipChanges: number;
  transfers: number;
  snapshotsSent: number;
  bitsFlipped: number;
  damageFound: number;
  /** Histories that the judge gave up on. */
  undecided: number;
  /** Played to their end. */
  plots: number;
}

export function emptyReport(): RunReport {
  return {
    simulatedMs: 0,
    elections: 0,
    commits: 0,
    answers: 0,
    crashes: 0,
    storageFailures: 0,
    membershipChanges: 0,
    transfers: 0,
    snapshotsSent: 0,
    bitsFlipped: 0,
    damageFound: 0,
    undecided: 0,
    plots: 0,
  };
}

export function addReport(total: RunReport, run: RunReport): void {
  for (const name of Object.keys(total) as (keyof RunReport)[]) total[name] += run[name];
}

export function describeReport(report: RunReport, worlds: number): string {
  const { simulatedMs, elections, commits, answers, crashes, storageFailures, membershipChanges } = report;
  const { transfers, snapshotsSent, bitsFlipped, damageFound, undecided, plots } = report;
  return (
    `${worlds} worlds, ${(simulatedMs / 3_600_000).toFixed(2)} simulated hours: ${elections} elections, ` +
    `${commits} commits, ${answers} answers to clients, ${crashes} crashes, ${storageFailures} failed disks, ` +
    `${membershipChanges} membership changes, ${transfers} transfers, ${snapshotsSent} snapshots sent, ` +
    `${bitsFlipped} bits flipped (${damageFound} refused at the start), ${undecided} histories undecided, ` +
    `${plots} plots`
  );
}
