// Package load makes traffic and stock for a shop: [Fill] writes two years of orders straight into the
// databases of its services.
package load
