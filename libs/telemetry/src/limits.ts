/** How much is kept. Everything here is a picture of the recent past, never a record. */
export interface TelemetryLimits {
  eventsMax: number;
  statsPerContainerMax: number;
  statsContainersMax: number;
  /** Live events that a slow reader has not taken; older ones are dropped and counted. */
  readerQueueMax: number;
  /** Writes that Redis has not answered; more are dropped and counted. */
  redisWritesInFlightMax: number;
  redisTimeoutMs: number;
  /** Samples of a container that is gone leave Redis after this. */
  redisStatsKeptMs: number;
}

export const defaultLimits: TelemetryLimits = {
  eventsMax: 8192,
  statsPerContainerMax: 600,
  statsContainersMax: 2048,
  readerQueueMax: 8192,
  redisWritesInFlightMax: 4096,
  redisTimeoutMs: 2000,
  redisStatsKeptMs: 3_600_000,
};
