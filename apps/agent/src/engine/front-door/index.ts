export { createFrontDoor, type EngineIdentity, type FrontDoor, type FrontDoorOptions } from './front-door.js';
