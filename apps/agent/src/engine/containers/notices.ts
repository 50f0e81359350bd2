/** What clients did that the runtime does not tell of itself: events for `docker events`. */
export interface EngineNotice {
  type: 'container' | 'volume' | 'network' | 'image' | 'builder';
  action: string;
  id: string;
  attributes?: Record<string, string>;
}

export type Notify = (notice: EngineNotice) => void;
