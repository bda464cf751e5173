import math
import torch


class SpeechAttention(torch.nn.Module):
    """
    :param int n_head: the number of heads
    :param int n_feat: the number of features
    """

    def __init__(self, n_head, n_feat, dropout_rate=0.0):
        super().__init__()
        assert n_feat % n_head == 0
        self.d_k = n_feat // n_head
        self.n_head = n_head
        self.linear_q = torch.nn.Linear(n_feat, n_feat)
        self.linear_k = torch.nn.Linear(n_feat, n_feat)
        self.linear_v = torch.nn.Linear(n_feat, n_feat)
        self.linear_out = torch.nn.Linear(n_feat, n_feat)
        self.dropout = torch.nn.Dropout(p=dropout_rate)

    def forward(self, query, key, value):
        n_batch = query.size(0)
        q = self.linear_q(query).view(n_batch, -1, self.n_head, self.d_k).transpose(1, 2)
        k = self.linear_k(key).view(n_batch, -1, self.n_head, self.d_k).transpose(1, 2)
        v = self.linear_v(value).view(n_batch, -1, self.n_head, self.d_k).transpose(1, 2)
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.d_k)
        attn = torch.softmax(scores, dim=-1)
        x = torch.matmul(self.dropout(attn), v)
        x = x.reshape(n_batch, -1, self.n_head * self.d_k)
        return self.linear_out(x)
