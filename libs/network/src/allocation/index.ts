export { allocateTaskAddresses } from './allocate-task-addresses.js';
export type { TaskAddresses, TaskPlacement } from './allocate-task-addresses.js';
export { ingressNetwork, networksOfService, networksOfTask } from './attachments.js';
export { planNetworkAllocation } from './plan-network-allocation.js';
export { findPortConflict } from './ports.js';
export { findSubnetConflict } from './subnets.js';
