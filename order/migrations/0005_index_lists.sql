-- +goose Up
-- Without the first, MariaDB meets the orders of a user with all orders in a status.
CREATE INDEX orders_user_status ON orders (user_id, status, order_id);
CREATE INDEX orders_order_fee ON orders (order_fee, order_id);
