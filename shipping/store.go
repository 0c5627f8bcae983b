package shipping

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
)

// What the condition on whose a row is looks at. Beside ids, which find the rows, the column is kept from choosing
// the index, or SQLite reads all that a customer ever ordered.
const (
	byOwner  = "user_id"
	notOwner = "user_id + 0"
)

// visible is the predicate of the rows that a caller may see; owner is one of the constants above.
func visible(caller auth.Caller, owner string) (where string, args []any) {
	if caller.SeesAll() {
		return "1 = 1", nil
	}
	return owner + " = ?", []any{int64(caller.UserID)}
}

// item is one row of order_items. shipmentID is 0 for the plain rows of the existing resource.
type item struct {
	id, productID, orderID api.ID
	quantity               sql.NullInt64
	userID, shipmentID     api.ID
}

const itemColumns = `order_item_id, product_id, order_id, ordered_quantity, user_id, shipment_id`

func scanItem(scan func(...any) error) (item, error) {
	var i item
	err := scan(&i.id, &i.productID, &i.orderID, &i.quantity, &i.userID, &i.shipmentID)
	return i, err
}

// wire is the item as it travels, with a product and an order as they are given.
func (i item) wire(product api.Product, order api.Order) api.OrderItem {
	out := api.OrderItem{ProductID: i.productID, OrderID: i.orderID, Product: &product, Order: &order}
	if i.quantity.Valid {
		out.OrderedQuantity = new(api.Int(i.quantity.Int64))
	}
	return out
}

// key is the item in events.
func (i item) key() map[string]any {
	return map[string]any{"orderId": i.orderID, "productId": i.productID}
}

// number is a value for a nullable column.
func number(value *int64) sql.NullInt64 {
	if value == nil {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: *value, Valid: true}
}

func visibleItem(ctx context.Context, q sqldb.Querier, caller auth.Caller, order, product api.ID) (item, error) {
	where, args := visible(caller, notOwner)
	row, err := scanItem(q.QueryRow(ctx, `SELECT `+itemColumns+` FROM order_items WHERE `+where+` AND order_id = ? AND product_id = ?`,
		append(args, int64(order), int64(product))...).Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return row, itemNotFound(order, product)
	}
	return row, err
}

func itemByKey(ctx context.Context, q sqldb.Querier, order, product api.ID) (item, error) {
	return visibleItem(ctx, q, auth.Caller{Open: true}, order, product)
}

// insertItem writes an item; one of the same order and product makes the transaction ErrConflict, at its
// next statement or its commit.
func insertItem(ctx context.Context, tx *sqldb.Tx, i item, now time.Time) error {
	err := tx.Later(ctx, `INSERT INTO order_items (product_id, order_id, ordered_quantity, user_id, shipment_id, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, int64(i.productID), int64(i.orderID), i.quantity, int64(i.userID), int64(i.shipmentID),
		sqldb.Instant(now), sqldb.Instant(now))
	if err != nil {
		return fmt.Errorf("insert item %d of order %d: %w", i.productID, i.orderID, err)
	}
	return nil
}

// updatePlain writes what there is to a plain row and reports whether there is one. An owner that
// cannot be learned this time stays.
func updatePlain(ctx context.Context, tx *sqldb.Tx, i item, now time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE order_items SET ordered_quantity = COALESCE(?, ordered_quantity),
		user_id = CASE WHEN ? = 0 THEN user_id ELSE ? END, updated_at = ?
		WHERE order_id = ? AND product_id = ? AND shipment_id = 0`,
		i.quantity, int64(i.userID), int64(i.userID), sqldb.Instant(now), int64(i.orderID), int64(i.productID))
	if err != nil {
		return false, fmt.Errorf("update item %d of order %d: %w", i.productID, i.orderID, err)
	}
	return n == 1, nil
}

// adoptOrInsertItem makes the plain row that there is part of a shipment, or writes a row.
func adoptOrInsertItem(ctx context.Context, tx *sqldb.Tx, i item, now time.Time) error {
	adopted, err := adoptItem(ctx, tx, i, now)
	if err != nil || adopted {
		return err
	}
	return insertItem(ctx, tx, i, now)
}

// adoptItem makes a plain row part of a shipment and reports whether there is one.
func adoptItem(ctx context.Context, tx *sqldb.Tx, i item, now time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE order_items SET ordered_quantity = ?, user_id = ?, shipment_id = ?, updated_at = ?
		WHERE order_id = ? AND product_id = ? AND shipment_id = 0`,
		i.quantity, int64(i.userID), int64(i.shipmentID), sqldb.Instant(now), int64(i.orderID), int64(i.productID))
	if err != nil {
		return false, fmt.Errorf("adopt item %d of order %d: %w", i.productID, i.orderID, err)
	}
	return n == 1, nil
}

func deletePlain(ctx context.Context, tx *sqldb.Tx, order, product api.ID) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM order_items WHERE order_id = ? AND product_id = ? AND shipment_id = 0`, int64(order), int64(product))
	if err != nil {
		return false, fmt.Errorf("delete item %d of order %d: %w", product, order, err)
	}
	return n == 1, nil
}

// plainOrder is a 409 when the order has a shipment.
func plainOrder(ctx context.Context, tx *sqldb.Tx, order api.ID) error {
	_, err := shipmentOfOrder(ctx, tx, order)
	switch {
	case err == nil:
		return shipped(order)
	case errors.Is(err, sqldb.ErrNotFound):
		return nil
	}
	return err
}

const shipmentColumns = `shipment_id, order_id, state, service, carrier, tracking_number, full_address, postal_code, city, country,
	created_at, updated_at`

func scanShipment(scan func(...any) error) (api.Shipment, error) {
	var s api.Shipment
	a := &s.ShippingAddress
	err := scan(&s.ShipmentID, &s.OrderID, &s.State, &s.Service, &s.Carrier, &s.TrackingNumber, &a.FullAddress, &a.PostalCode, &a.City,
		&a.Country, (*sqldb.Instant)(&s.CreatedAt), (*sqldb.Instant)(&s.UpdatedAt))
	return s, err
}

func visibleShipment(ctx context.Context, q sqldb.Querier, caller auth.Caller, id api.ID) (api.Shipment, error) {
	where, args := visible(caller, notOwner)
	shipment, err := scanShipment(q.QueryRow(ctx, `SELECT `+shipmentColumns+` FROM shipments WHERE `+where+` AND shipment_id = ?`,
		append(args, int64(id))...).Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return shipment, noShipment(id)
	}
	return shipment, err
}

func noShipment(id api.ID) error { return api.NotFound("Shipment with id: %d not found", id) }

// shipmentOfOrder is the shipment of an order; ErrNotFound when it has none.
func shipmentOfOrder(ctx context.Context, q sqldb.Querier, order api.ID) (api.Shipment, error) {
	return scanShipment(q.QueryRow(ctx, `SELECT `+shipmentColumns+` FROM shipments WHERE order_id = ?`, int64(order)).Scan)
}

func insertShipment(ctx context.Context, tx *sqldb.Tx, in api.NewShipment, now time.Time) (api.ID, error) {
	a := in.ShippingAddress
	id, err := tx.Insert(ctx, `INSERT INTO shipments (order_id, user_id, state, service, carrier, tracking_number, full_address, postal_code,
		city, country, created_at, updated_at) VALUES (?, ?, ?, ?, '', '', ?, ?, ?, ?, ?, ?)`,
		int64(in.OrderID), int64(in.UserID), api.ShipmentPending, in.Service, a.FullAddress, a.PostalCode, a.City, a.Country,
		sqldb.Instant(now), sqldb.Instant(now))
	if err != nil {
		return 0, fmt.Errorf("insert shipment: %w", err)
	}
	return api.ID(id), nil
}

// lockShipment reads a shipment that nobody else changes until the transaction ends.
func lockShipment(ctx context.Context, tx *sqldb.Tx, id api.ID) (api.Shipment, error) {
	shipment, err := scanShipment(tx.LockRow(ctx, `SELECT `+shipmentColumns+` FROM shipments WHERE shipment_id = ?`, int64(id)).Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return shipment, noShipment(id)
	}
	return shipment, err
}

// saveStep writes a step, from the state that the shipment was read in.
func saveStep(ctx context.Context, tx *sqldb.Tx, s api.Shipment, from string) error {
	n, err := tx.Exec(ctx, `UPDATE shipments SET state = ?, carrier = ?, tracking_number = ?, updated_at = ? WHERE shipment_id = ? AND state = ?`,
		s.State, s.Carrier, s.TrackingNumber, sqldb.Instant(s.UpdatedAt), int64(s.ShipmentID), from)
	if err == nil && n != 1 {
		err = errors.New("it changed under the lock")
	}
	if err != nil {
		return fmt.Errorf("move shipment %d: %w", s.ShipmentID, err)
	}
	return nil
}

func insertEvent(ctx context.Context, tx *sqldb.Tx, shipment api.ID, e api.ShipmentEvent) error {
	err := tx.Later(ctx, `INSERT INTO shipment_events (shipment_id, from_state, state, carrier, tracking_number, note, actor, happened_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, int64(shipment), e.From, e.State, e.Carrier, e.TrackingNumber, e.Note, e.Actor, sqldb.Instant(e.At))
	if err != nil {
		return fmt.Errorf("event of shipment %d: %w", shipment, err)
	}
	return nil
}

// withDetails adds the items and events of shipments, in one query each.
func withDetails(ctx context.Context, q sqldb.Querier, shipments []*api.Shipment) error {
	if len(shipments) == 0 {
		return nil
	}
	byID := map[api.ID]*api.Shipment{}
	ids := make([]api.ID, len(shipments))
	for i, shipment := range shipments {
		byID[shipment.ShipmentID], ids[i] = shipment, shipment.ShipmentID
		shipment.Items, shipment.Events = []api.ItemQuantity{}, []api.ShipmentEvent{}
	}
	items, err := sqldb.All(ctx, q, scanItem, `SELECT `+itemColumns+` FROM order_items
		WHERE shipment_id IN (`+sqldb.In(len(ids))+`) ORDER BY order_item_id`, sqldb.Args(ids)...)
	if err != nil {
		return fmt.Errorf("items of shipments: %w", err)
	}
	for _, i := range items {
		shipment := byID[i.shipmentID]
		shipment.Items = append(shipment.Items, api.ItemQuantity{ProductID: i.productID, Quantity: i.quantity.Int64})
	}
	_, err = sqldb.All(ctx, q, func(scan func(...any) error) (struct{}, error) {
		var (
			id api.ID
			e  api.ShipmentEvent
		)
		err := scan(&id, &e.From, &e.State, &e.Carrier, &e.TrackingNumber, &e.Note, &e.Actor, (*sqldb.Instant)(&e.At))
		if err == nil {
			byID[id].Events = append(byID[id].Events, e)
		}
		return struct{}{}, err
	}, `SELECT shipment_id, from_state, state, carrier, tracking_number, note, actor, happened_at FROM shipment_events
		WHERE shipment_id IN (`+sqldb.In(len(ids))+`) ORDER BY event_id`, sqldb.Args(ids)...)
	if err != nil {
		return fmt.Errorf("events of shipments: %w", err)
	}
	return nil
}

const notificationColumns = `notification_id, shipment_id, order_id, state, tracking_number, attempts, deliver_at`

func scanNotification(scan func(...any) error) (notification, error) {
	var n notification
	err := scan(&n.id, &n.shipment, &n.order, &n.state, &n.tracking, &n.attempts, (*sqldb.Instant)(&n.deliver))
	return n, err
}

func insertNotification(ctx context.Context, tx *sqldb.Tx, s api.Shipment, now time.Time) error {
	err := tx.Later(ctx, `INSERT INTO notifications (shipment_id, order_id, state, tracking_number, attempts, deliver_at)
		VALUES (?, ?, ?, ?, 0, ?)`, int64(s.ShipmentID), int64(s.OrderID), s.State, s.TrackingNumber, sqldb.Instant(now))
	if err != nil {
		return fmt.Errorf("notification of shipment %d: %w", s.ShipmentID, err)
	}
	return nil
}

// firstNotification is the oldest of a shipment that order-service has not taken.
func firstNotification(ctx context.Context, q sqldb.Querier, shipment api.ID) (notification, error) {
	return scanNotification(q.QueryRow(ctx, `SELECT `+notificationColumns+` FROM notifications WHERE shipment_id = ?
		ORDER BY notification_id LIMIT 1`, int64(shipment)).Scan)
}

// dueNotifications are the oldest of each shipment, as far as they are due.
func dueNotifications(ctx context.Context, q sqldb.Querier, now time.Time, most int) ([]notification, error) {
	return sqldb.All(ctx, q, scanNotification, `SELECT `+notificationColumns+` FROM notifications AS n
		WHERE deliver_at <= ? AND NOT EXISTS (SELECT 1 FROM notifications AS older
			WHERE older.shipment_id = n.shipment_id AND older.notification_id < n.notification_id)
		ORDER BY deliver_at, notification_id LIMIT ?`, sqldb.Instant(now), most)
}

// leaseNotification takes a notification as it was read and reports whether it still was so.
func leaseNotification(ctx context.Context, tx *sqldb.Tx, n notification, until time.Time) (bool, error) {
	rows, err := tx.Exec(ctx, `UPDATE notifications SET deliver_at = ?, attempts = attempts + 1
		WHERE notification_id = ? AND deliver_at = ?`, sqldb.Instant(until), int64(n.id), sqldb.Instant(n.deliver))
	return rows == 1, err
}

func postponeNotification(ctx context.Context, tx *sqldb.Tx, id api.ID, until time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE notifications SET deliver_at = ? WHERE notification_id = ?`, sqldb.Instant(until), int64(id))
	return err
}

func deleteNotification(ctx context.Context, tx *sqldb.Tx, id api.ID) error {
	_, err := tx.Exec(ctx, `DELETE FROM notifications WHERE notification_id = ?`, int64(id))
	return err
}

// insertDemo writes plain rows into an empty table.
func insertDemo(ctx context.Context, db *sqldb.DB, rows []item, now time.Time) error {
	err := db.Tx(ctx, func(tx *sqldb.Tx) error {
		if n, err := sqldb.Count(ctx, tx, 1, `SELECT order_item_id FROM order_items`); err != nil || n > 0 {
			return err
		}
		for _, row := range rows {
			if err := insertItem(ctx, tx, row, now); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, sqldb.ErrConflict) {
		return nil // another replica wrote them at the same moment
	}
	return err
}
