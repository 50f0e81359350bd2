export { createTelemetry, type TelemetryOptions } from './create-telemetry.js';
export type { TelemetryLimits } from './limits.js';
export * from './port.js';
