/** Every checker, told of everything. */
import { CommittedLog } from './committed-log.js';
import { Durability } from './durability.js';
import { Elections } from './elections.js';
import { LogMatching } from './log-matching.js';
import type { Observer, Report } from './observer.js';

export class AllCheckers implements Required<Observer> {
  readonly committed: CommittedLog;
  readonly elections: Elections;
  private readonly observers: readonly Observer[];

  constructor(report: Report) {
    this.committed = new CommittedLog(report);
    this.elections = new Elections(this.committed, report);
    // What was committed must be known before anybody is judged by it.
    this.observers = [new LogMatching(report), new Durability(report), this.committed, this.elections];
  }

  recovered(...args: Parameters<Required<Observer>['recovered']>): void {
    for (const observer of this.observers) observer.recovered?.(...args);
  }

  stepped(...args: Parameters<Required<Observer>['stepped']>): void {
    for (const observer of this.observers) observer.stepped?.(...args);
  }

  persisted(...args: Parameters<Required<Observer>['persisted']>): void {
    for (const observer of this.observers) observer.persisted?.(...args);
  }

  applied(...args: Parameters<Required<Observer>['applied']>): void {
    for (const observer of this.observers) observer.applied?.(...args);
  }

  restored(...args: Parameters<Required<Observer>['restored']>): void {
    for (const observer of this.observers) observer.restored?.(...args);
  }
}
