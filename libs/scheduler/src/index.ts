/** Which node: filters that explain themselves, then spreading. Pure. */
export { parseConstraint, satisfiesConstraints, type Constraint } from '#libs/model';
export { awaitsPlacement, fitsInPlaceOf, schedule, type Schedule, type TaskPlacement } from './schedule.js';
