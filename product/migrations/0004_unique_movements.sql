-- +goose Up
-- The last wall against stock that is sold or comes back twice for one order. Movements without an order
-- are NULL there, of which there may be any number.
CREATE UNIQUE INDEX stock_movements_order ON stock_movements (order_id, product_id, reason);
