package order

import (
	"net/http"

	"tienda/api"
	"tienda/sqldb"
	"tienda/web"
)

// standings tells components how far orders are. An id without an order is left out.
func (s *Service) standings(w http.ResponseWriter, r *http.Request) error {
	ids, _, err := web.QueryIDs(r, "ids")
	if err != nil {
		return err
	}
	list := api.List[api.OrderStanding]{Collection: []api.OrderStanding{}}
	if len(ids) > 0 {
		list.Collection, err = sqldb.All(r.Context(), s.db, func(scan func(...any) error) (standing api.OrderStanding, err error) {
			return standing, scan(&standing.OrderID, &standing.Status, &standing.InProgress)
		}, `SELECT o.order_id, o.status, CASE WHEN g.step IS NULL OR g.step = '`+string(stepDone)+`' THEN FALSE ELSE TRUE END
			FROM orders o LEFT JOIN sagas g ON g.order_id = o.order_id WHERE o.order_id IN (`+sqldb.In(len(ids))+`) ORDER BY o.order_id`,
			sqldb.Args(ids)...)
		if err != nil {
			return err
		}
	}
	return web.JSON(w, http.StatusOK, list)
}
