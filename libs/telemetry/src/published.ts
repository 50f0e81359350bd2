/** An event with the mark that tells it from every other one, in whatever process it was published. */
import type { ClusterEvent } from '#libs/model';

export interface PublishedEvent {
  /** `<process>-<number>`. */
  mark: string;
  event: ClusterEvent;
}

export interface EventRange {
  sinceNano?: bigint;
  untilNano?: bigint;
}

/** True when the event lies in the range, both ends included. */
export function isInRange({ event }: PublishedEvent, { sinceNano, untilNano }: EventRange): boolean {
  // Nanoseconds since 1970 are past what a number holds exactly; to the microsecond they are right.
  const at = BigInt(event.timeNano);
  return (sinceNano === undefined || at >= sinceNano) && (untilNano === undefined || at <= untilNano);
}
