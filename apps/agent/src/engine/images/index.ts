export { distributionRoutes } from './distribution.js';
export { imageRoutes, type ImageRouteDependencies } from './image-routes.js';
export { flagOf, untilMsOf } from './image-filters.js';
export { bytesOfLayers } from './image-views.js';
export { loginRoute } from './login-route.js';
