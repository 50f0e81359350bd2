export { distributionRoutes } from './distribution.js';
export { imageRoutes, type ImageRouteDependencies } from './image-routes.js';
