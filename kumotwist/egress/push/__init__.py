"""Push notifications: APNs, FCM and Web Push, a channel a file."""
