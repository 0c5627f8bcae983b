package shipping

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

// neighbourTimeout bounds a call whose answer only decorates ours.
const neighbourTimeout = 2 * time.Second

func itemNotFound(order, product api.ID) error {
	return api.NotFound("OrderItem with id: OrderItemId(productId=%d, orderId=%d) not found", product, order)
}

func (s *Service) listItems(w http.ResponseWriter, r *http.Request) error {
	page, err := web.ReadPage(r, "order_item_id", map[string]string{"productId": "product_id", "orderId": "order_id", "orderedQuantity": "ordered_quantity"})
	if err != nil {
		return err
	}
	clause, args, err := ofOrders(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	total, err := sqldb.Count(ctx, s.db, web.ExactTotal, `SELECT order_item_id FROM order_items WHERE `+clause, args...)
	if err != nil {
		return err
	}
	after, behind := page.Condition()
	rows, err := sqldb.All(ctx, s.db, scanItem, `SELECT `+itemColumns+` FROM order_items WHERE `+clause+after+page.Tail(), append(args, behind...)...)
	if err != nil {
		return err
	}
	list := web.Rows(page, rows, total, func(i item) api.ID { return i.id })
	return web.JSON(w, http.StatusOK, api.List[api.OrderItem]{Collection: s.expand(ctx, rows), Page: list.Page})
}

// ofOrders is the condition of the rows that the caller may see and that orderId= and orderIds= select.
func ofOrders(r *http.Request) (clause string, args []any, err error) {
	owner := byOwner
	if query := r.URL.Query(); query.Has("orderId") || query.Has("orderIds") {
		owner = notOwner
	}
	clause, args = visible(auth.CallerOf(r.Context()), owner)
	for _, parameter := range []string{"orderId", "orderIds"} {
		ids, given, err := web.QueryIDs(r, parameter)
		switch {
		case err != nil:
			return "", nil, err
		case given && len(ids) == 0:
			clause += " AND 1 = 0"
		case given:
			clause += " AND order_id IN (" + sqldb.In(len(ids)) + ")"
			args = sqldb.Args(ids, args...)
		}
	}
	return clause, args, nil
}

// expand shows the products and orders of items, asking each neighbour once. What cannot be had stays a
// bare id.
func (s *Service) expand(ctx context.Context, rows []item) []api.OrderItem {
	orders, products := map[api.ID]api.Order{}, map[api.ID]api.Product{}
	for _, row := range rows {
		orders[row.orderID] = api.Order{OrderID: row.orderID}
		products[row.productID] = api.Product{ProductID: row.productID}
	}
	if len(rows) > 0 {
		ctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
		defer cancel()
		orderIDs, productIDs := ids(orders), ids(products)
		var group sync.WaitGroup
		group.Go(func() {
			known, err := s.orders.Orders(ctx, orderIDs)
			if err != nil {
				s.log.DebugContext(ctx, "order items shown without their orders", "err", err)
			}
			for _, o := range known {
				orders[o.OrderID] = api.Order{OrderID: o.OrderID, OrderDate: o.OrderDate, OrderDesc: o.OrderDesc, OrderFee: o.OrderFee}
			}
		})
		group.Go(func() {
			known, err := s.products.Products(ctx, productIDs)
			if err != nil {
				s.log.DebugContext(ctx, "order items shown without their products", "err", err)
			}
			for _, p := range known {
				products[p.ProductID] = api.Product{ProductID: p.ProductID, ProductTitle: p.ProductTitle, ImageURL: p.ImageURL,
					SKU: p.SKU, PriceUnit: p.PriceUnit, Quantity: p.Quantity}
			}
		})
		group.Wait()
	}
	items := make([]api.OrderItem, len(rows))
	for i, row := range rows {
		items[i] = row.wire(products[row.productID], orders[row.orderID])
	}
	return items
}

func ids[T any](m map[api.ID]T) []api.ID {
	list := make([]api.ID, 0, len(m))
	for id := range m {
		list = append(list, id)
	}
	return list
}

func (s *Service) getItem(w http.ResponseWriter, r *http.Request) error {
	order, product, err := itemInPath(r)
	if err != nil {
		return err
	}
	return s.showItem(w, r, order, product)
}

func (s *Service) findItem(w http.ResponseWriter, r *http.Request) error {
	order, product, err := itemInBody(w, r)
	if err != nil {
		return err
	}
	return s.showItem(w, r, order, product)
}

func (s *Service) showItem(w http.ResponseWriter, r *http.Request, order, product api.ID) error {
	row, err := visibleItem(r.Context(), s.db, auth.CallerOf(r.Context()), order, product)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, s.expand(r.Context(), []item{row})[0])
}

// itemInPath is the key of an item as /{orderId}/{productId}.
func itemInPath(r *http.Request) (order, product api.ID, err error) {
	if order, err = web.PathID(r, "orderId"); err != nil {
		return 0, 0, err
	}
	product, err = web.PathID(r, "productId")
	return order, product, err
}

// itemInBody is the key of an item as a body {"productId":1,"orderId":1}. Not every client can send a
// body with these methods: without one the query is read.
func itemInBody(w http.ResponseWriter, r *http.Request) (order, product api.ID, err error) {
	if r.URL.Query().Has("orderId") && r.URL.Query().Has("productId") {
		if order, err = web.QueryID(r, "orderId"); err != nil {
			return 0, 0, err
		}
		product, err = web.QueryID(r, "productId")
		return order, product, err
	}
	in, err := web.Read[api.OrderItem](w, r)
	if err != nil {
		return 0, 0, err
	}
	return keyOf(in)
}

// keyOf is the key of an item, which may stand in its nested objects only.
func keyOf(in api.OrderItem) (order, product api.ID, err error) {
	order, product = in.OrderID, in.ProductID
	if order == 0 && in.Order != nil {
		order = in.Order.OrderID
	}
	if product == 0 && in.Product != nil {
		product = in.Product.ProductID
	}
	var reasons []api.FieldError
	if order <= 0 {
		reasons = append(reasons, api.FieldError{Field: "orderId", Reason: "must be a positive number"})
	}
	if product <= 0 {
		reasons = append(reasons, api.FieldError{Field: "productId", Reason: "must be a positive number"})
	}
	return order, product, api.Valid(reasons)
}

// saveItem is POST and PUT alike: the pair of order and product is updated if it is there, else created.
func (s *Service) saveItem(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.OrderItem](w, r)
	if err != nil {
		return err
	}
	row := item{}
	if row.orderID, row.productID, err = keyOf(in); err != nil {
		return err
	}
	if in.OrderedQuantity != nil {
		if *in.OrderedQuantity < 0 || *in.OrderedQuantity > maxQuantity {
			return api.Invalid(api.FieldError{Field: "orderedQuantity", Reason: fmt.Sprintf("must be 0 to %d", maxQuantity)})
		}
		row.quantity = number((*int64)(in.OrderedQuantity))
	}
	ctx, now := r.Context(), s.now()
	row.userID = s.ownerOf(ctx, row.orderID)
	var (
		saved  item
		status int
	)
	err = s.again(ctx, func(tx *sqldb.Tx) error {
		status = http.StatusOK
		change := "UPDATED"
		updated, err := updatePlain(ctx, tx, row, now)
		if err != nil {
			return err
		}
		if !updated {
			if err := plainOrder(ctx, tx, row.orderID); err != nil {
				return err
			}
			if err := insertItem(ctx, tx, row, now); err != nil {
				return err
			}
			status, change = http.StatusCreated, "CREATED"
		}
		if saved, err = itemByKey(ctx, tx, row.orderID, row.productID); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "orderItem", saved.id, change, saved.key(), now)
	})
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		w.Header().Set("Location", fmt.Sprintf("/shipping-service/api/shippings/%d/%d", saved.orderID, saved.productID))
	}
	return web.JSON(w, status, saved.wire(api.Product{ProductID: saved.productID}, api.Order{OrderID: saved.orderID}))
}

// again runs a transaction that looks for a row before it inserts one, and runs it anew when another
// inserted the row in between.
func (s *Service) again(ctx context.Context, do func(tx *sqldb.Tx) error) error {
	err := s.db.Tx(ctx, do)
	for attempt := 0; errors.Is(err, sqldb.ErrConflict) && attempt < 3; attempt++ {
		err = s.db.Tx(ctx, do)
	}
	return err
}

// ownerOf is whose order it is, or 0 when that cannot be learned: the item is then for administrators
// to see. An item is recorded whether or not its order can be found.
func (s *Service) ownerOf(ctx context.Context, order api.ID) api.ID {
	ctx, cancel := context.WithTimeout(ctx, neighbourTimeout)
	defer cancel()
	found, err := s.orders.Order(ctx, order)
	if err != nil {
		s.log.DebugContext(ctx, "order item without a known owner", "order", order, "err", err)
		return 0
	}
	return found.UserID
}

func (s *Service) deleteItem(w http.ResponseWriter, r *http.Request) error {
	order, product, err := itemInPath(r)
	if err != nil {
		return err
	}
	return s.removeItem(w, r, order, product)
}

func (s *Service) deleteFoundItem(w http.ResponseWriter, r *http.Request) error {
	order, product, err := itemInBody(w, r)
	if err != nil {
		return err
	}
	return s.removeItem(w, r, order, product)
}

func (s *Service) removeItem(w http.ResponseWriter, r *http.Request, order, product api.ID) error {
	ctx, now := r.Context(), s.now()
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		row, err := itemByKey(ctx, tx, order, product)
		if err != nil {
			return err
		}
		deleted, err := deletePlain(ctx, tx, order, product)
		if err != nil {
			return err
		}
		if !deleted {
			if _, err := itemByKey(ctx, tx, order, product); err != nil {
				return err // another deleted it in between
			}
			return shipped(order)
		}
		return journal.Append(ctx, tx, "orderItem", row.id, "DELETED", row.key(), now)
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}

// shipped says why an item cannot be changed.
func shipped(order api.ID) error {
	return api.Conflict("order %d has a shipment: its items do not change any more", order)
}
