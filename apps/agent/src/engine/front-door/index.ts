export { createFrontDoor, type FrontDoor, type FrontDoorOptions } from './front-door.js';
